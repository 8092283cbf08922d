"""From the engine's events to a response: the events that a stream tells it by, and its body at the end."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from specdec.types import ContentDelta, Delta, GenerationEvent, ReasoningDelta, ToolCallDelta
from specdec_server.errors import Refusal
from specdec_server.responses.schemas import (
    IncompleteDetails,
    ReasoningText,
    ResponseBody,
    ResponseError,
    ResponseEvent,
    ResponseOutputMessage,
    ResponseOutputText,
    ResponseReasoning,
    ResponsesRequest,
    ResponseToolCall,
    ResponseUsage,
)
from specdec_server.runs import Run
from specdec_server.streaming import AnswerWriter

ItemEvent = tuple[str, dict[str, Any]]
"""The name of an event, and its fields."""


class OpenText:
    """An item that is one part of text, while it is written: the answer, or what the model thinks before it."""

    def __init__(
        self, item: ResponseOutputMessage | ResponseReasoning, part: ResponseOutputText | ReasoningText
    ) -> None:
        self.item, self._part = item, part
        self._where: dict[str, Any] = {"item_id": item.id, "content_index": 0}
        self._extra: dict[str, Any] = {"logprobs": []} if item.type == "message" else {}

    def begin(self) -> Iterator[ItemEvent]:
        yield "response.output_item.added", {"item": self.item.model_copy()}
        yield "response.content_part.added", self._where | {"part": self._part.model_copy()}

    def add(self, text: str) -> ItemEvent:
        self._part.text += text
        return f"response.{self._part.type}.delta", self._where | {"delta": text} | self._extra

    def close(self) -> Iterator[ItemEvent]:
        self.item = self.item.model_copy(update={"content": [self._part], "status": "completed"})
        yield f"response.{self._part.type}.done", self._where | {"text": self._part.text} | self._extra
        yield "response.content_part.done", self._where | {"part": self._part}
        yield "response.output_item.done", {"item": self.item}


class OpenCall:
    """A call of a function, while it is written."""

    def __init__(self, item: ResponseToolCall) -> None:
        self.item = item

    def begin(self) -> Iterator[ItemEvent]:
        yield "response.output_item.added", {"item": self.item.model_copy()}

    def add(self, text: str) -> ItemEvent:
        self.item.arguments += text
        return "response.function_call_arguments.delta", {"item_id": self.item.id, "delta": text}

    def close(self) -> Iterator[ItemEvent]:
        self.item.status = "completed"
        done = {"item_id": self.item.id, "name": self.item.name, "arguments": self.item.arguments}
        yield "response.function_call_arguments.done", done
        yield "response.output_item.done", {"item": self.item}


class ResponsesWriter(AnswerWriter):
    """Builds the body event by event."""

    def __init__(self, run: Run, model: str, body: ResponsesRequest, tools: Sequence[Mapping[str, Any]] = ()) -> None:
        """The body before anything was answered repeats how it was asked for, as clients expect."""
        asked = body.model_dump(by_alias=True, exclude_none=True, include={"text", "tool_choice"})
        self.body = ResponseBody(
            id=f"resp_{run.id}",
            object="response",
            created_at=int(time.time()),
            status="in_progress",
            error=None,
            incomplete_details=None,
            instructions=body.instructions,
            max_output_tokens=body.max_output_tokens,
            model=model,
            output=[],
            parallel_tool_calls=body.parallel_tool_calls is not False,
            previous_response_id=None,
            store=False,
            temperature=body.temperature,
            text={"format": {"type": "text"}} | asked.get("text", {}),
            tool_choice=asked.get("tool_choice", "auto"),
            tools=[{"type": "function", **tool["function"]} for tool in tools],
            top_p=body.top_p,
            truncation="disabled",
            metadata=body.metadata or {},
            usage=None,
        )
        self._run = run
        self._open: OpenText | OpenCall | None = None
        self._sent = 0

    def begin(self) -> str:
        """Before the prompt is read: clients take nothing else for the first event, not even an error."""
        return "".join(self._data((f"response.{name}", {"response": self.body})) for name in ("created", "in_progress"))

    def event(self, index: int, event: GenerationEvent) -> str:  # noqa: ARG002  (there is one answer)
        return "".join(map(self._data, chain.from_iterable(map(self._add, event.deltas))))

    def end(self) -> str:
        return "".join(map(self._data, self._end()))

    def error(self, refusal: Refusal) -> str:
        self.body.status = "failed"
        self.body.error = ResponseError(code=refusal.name, message=refusal.info.message)
        return self._data(("response.failed", {"response": self.body}))

    def whole(self, answers: Sequence[Sequence[GenerationEvent]]) -> ResponseBody:
        for event in answers[0]:
            for delta in event.deltas:
                list(self._add(delta))
        list(self._end())
        return self.body

    def _add(self, delta: Delta) -> Iterator[ItemEvent]:
        """To the item that is open, or to the next."""
        match delta:
            case ToolCallDelta(_, call_id, _, text):
                begins = call_id is not None
            case ContentDelta(text) | ReasoningDelta(text):
                kind = "message" if isinstance(delta, ContentDelta) else "reasoning"
                begins = self._open is None or self._open.item.type != kind
        if begins:
            yield from self._close()
            self._open = opened(f"{self._run.id}_{len(self.body.output)}", delta)
            yield from self._open.begin()
        if text and self._open:
            yield self._open.add(text)

    def _close(self) -> Iterator[ItemEvent]:
        if self._open:
            yield from self._open.close()
            self.body.output.append(self._open.item)
            self._open = None

    def _end(self) -> Iterator[ItemEvent]:
        if not self.body.output and self._open is None:
            yield from self._add(ContentDelta(""))  # an empty answer is a message all the same
        yield from self._close()
        (end,) = self._run.endings
        cut = end is None or end.reason != "stop"
        self.body.status = "incomplete" if cut else "completed"
        self.body.incomplete_details = IncompleteDetails(reason="max_output_tokens") if cut else None
        figures = self._run.figures()
        self.body.usage, self.body.timings = ResponseUsage.of(figures.usage), figures.timings
        self.body.metrics = figures.metrics
        yield f"response.{self.body.status}", {"response": self.body}

    def _data(self, event: ItemEvent) -> str:
        name, fields = event
        if "response" not in fields:
            fields = {"output_index": len(self.body.output)} | fields
        sent = ResponseEvent(type=name, sequence_number=self._sent, **fields)
        self._sent += 1
        return f"event: {name}\ndata: {sent.to_json()}\n\n"


def opened(name: str, delta: Delta) -> OpenText | OpenCall:
    """The item that a delta begins, still empty."""
    match delta:
        case ContentDelta():
            message = ResponseOutputMessage(
                type="message", id=f"msg_{name}", role="assistant", status="in_progress", content=[]
            )
            return OpenText(message, ResponseOutputText(type="output_text", text="", annotations=[]))
        case ReasoningDelta():
            thought = ResponseReasoning(type="reasoning", id=f"rs_{name}", summary=[], content=[], status="in_progress")
            return OpenText(thought, ReasoningText(type="reasoning_text", text=""))
        case ToolCallDelta(_, call_id, function):
            call = ResponseToolCall(
                type="function_call",
                id=f"fc_{name}",
                call_id=call_id or "",
                name=function or "",
                arguments="",
                status="in_progress",
            )
            return OpenCall(call)
