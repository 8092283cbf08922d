"""From the engine's events to a response: the events that a stream tells it by, and its body at the end."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from specdec.types import ContentDelta, Delta, GenerationEvent, ReasoningDelta, ToolCallDelta
from specdec_server.common.base import as_json, data
from specdec_server.common.deltas import joined
from specdec_server.common.figures import Tally, UsageBody, figures
from specdec_server.errors import Refusal
from specdec_server.responses.items import OpenCall, OpenItem, Told, open_message, open_reasoning
from specdec_server.responses.wire import (
    Incomplete,
    InputDetails,
    OutputDetails,
    ResponseBody,
    ResponseError,
    ResponseEvent,
    ResponseRequest,
    ResponseUsage,
)


class ResponseStream:
    """Builds the body event by event; whoever does not stream takes the body alone."""

    def __init__(self, name: str, model: str, request: ResponseRequest, tallies: Sequence[Tally]) -> None:
        self.body = _empty(name, model, request)
        self._name, self._tallies = name, tallies
        self._open: OpenItem | None = None
        self._sent = 0

    def on(self, _index: int, event: GenerationEvent) -> Iterator[str]:
        if self._sent == 0:
            for begun in ("response.created", "response.in_progress"):
                yield self._tell(begun, {"response": self.body.model_copy()})
        for delta in joined(event.deltas):
            yield from self._add(delta)

    def end(self) -> Iterator[str]:
        if not self.body.output and self._open is None:
            # an empty answer is a message all the same
            yield from self._begin(open_message(self._item_name()))
        yield from self._close()
        last = self._tallies[0].last
        cut = last is None or last.finish_reason != "stop"
        self.body.status = "incomplete" if cut else "completed"
        self.body.incomplete_details = Incomplete(reason="max_output_tokens") if cut else None
        total = figures(self._tallies)
        self.body.usage, self.body.timings, self.body.metrics = (
            _usage(total.usage),
            total.timings,
            total.metrics,
        )
        yield self._tell(f"response.{self.body.status}", {"response": self.body})

    def failed(self, refusal: Refusal) -> Iterator[str]:
        self.body.status = "failed"
        self.body.error = ResponseError(code=refusal.code or refusal.kind, message=refusal.message)
        yield self._tell("response.failed", {"response": self.body})

    def _add(self, delta: Delta) -> Iterator[str]:
        match delta:
            case ContentDelta(text):
                if not self._writes("message"):
                    yield from self._begin(open_message(self._item_name()))
            case ReasoningDelta(text):
                if not self._writes("reasoning"):
                    yield from self._begin(open_reasoning(self._item_name()))
            case ToolCallDelta(_, call_id, name, text):
                if call_id is not None:
                    yield from self._begin(OpenCall(self._item_name(), call_id, name or ""))
        if text and self._open:
            yield from self._told(self._open.add(text))

    def _writes(self, kind: str) -> bool:
        return self._open is not None and self._open.item.type == kind

    def _begin(self, item: OpenItem) -> Iterator[str]:
        yield from self._close()
        self._open = item
        yield from self._told(item.begin())

    def _close(self) -> Iterator[str]:
        if self._open:
            yield from self._told(self._open.close())
            self.body.output.append(self._open.item)
            self._open = None

    def _told(self, events: Iterator[Told]) -> Iterator[str]:
        for name, fields in events:
            yield self._tell(name, {"output_index": len(self.body.output)} | fields)

    def _tell(self, name: str, fields: dict[str, Any]) -> str:
        event = ResponseEvent(type=name, sequence_number=self._sent, **fields)
        self._sent += 1
        return data(as_json(event), name)

    def _item_name(self) -> str:
        closing = 1 if self._open else 0
        return f"{self._name}_{len(self.body.output) + closing}"


def whole(writer: ResponseStream, answers: Sequence[Sequence[GenerationEvent]]) -> ResponseBody:
    """The same, told to nobody."""
    for event in answers[0]:
        for _ in writer.on(0, event):
            pass
    for _ in writer.end():
        pass
    return writer.body


def _empty(name: str, model: str, request: ResponseRequest) -> ResponseBody:
    """The body before anything was answered; it repeats how it was asked for, as clients expect."""
    asked = request.model_dump(mode="json", by_alias=True, exclude_none=True)
    return ResponseBody(
        id=f"resp_{name}", object="response", created_at=int(time.time()), status="in_progress", error=None,
        incomplete_details=None, instructions=request.instructions, max_output_tokens=request.max_output_tokens,
        model=model, output=[], parallel_tool_calls=request.parallel_tool_calls is not False,
        previous_response_id=None, store=False, temperature=request.temperature,
        text={"format": {"type": "text"}} | asked.get("text", {}), tool_choice=asked.get("tool_choice", "auto"),
        tools=asked.get("tools", []), top_p=request.top_p, truncation="disabled", metadata=request.metadata or {},
        usage=None,
    )  # fmt: skip


def _usage(usage: UsageBody) -> ResponseUsage:
    return ResponseUsage(
        input_tokens=usage.prompt_tokens,
        input_tokens_details=InputDetails(cached_tokens=usage.prompt_tokens_details.cached_tokens),
        output_tokens=usage.completion_tokens,
        output_tokens_details=OutputDetails(reasoning_tokens=usage.completion_tokens_details.reasoning_tokens),
        total_tokens=usage.total_tokens,
    )
