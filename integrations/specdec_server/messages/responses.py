"""From the engine's events to a message: the events that a stream tells it by, and its body at the end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from pydantic_core import from_json
from sse_starlette import ServerSentEvent

from specdec.types import ContentDelta, Delta, Ending, GenerationEvent, ReasoningDelta, ToolCallDelta
from specdec_server.errors import Refusal
from specdec_server.messages.schemas import (
    MessageBlock,
    MessageBlockDelta,
    MessageBody,
    MessageEnd,
    MessageEvent,
    MessageText,
    MessageThinking,
    MessageTokensDetails,
    MessageToolUse,
    MessageUsage,
    StopReason,
)
from specdec_server.runs import Run
from specdec_server.streaming import AnswerWriter

UNSIGNED = "unsigned"
"""The signature of a thought: some clients drop those that have none."""


class MessagesWriter(AnswerWriter):
    """Builds the body event by event."""

    def __init__(self, run: Run, model: str) -> None:
        self._run = run
        nothing = MessageTokensDetails(thinking_tokens=0)
        self.body = MessageBody(
            id=f"msg_{run.id}",
            type="message",
            role="assistant",
            model=model,
            content=[],
            stop_reason=None,
            stop_sequence=None,
            # the prompt is still unread; the counts come with the end
            usage=MessageUsage(
                input_tokens=0,
                cache_creation_input_tokens=0,
                cache_read_input_tokens=0,
                output_tokens=0,
                output_tokens_details=nothing,
            ),
        )
        self._open = False
        """Whether the last block of the body is still being written."""
        self._arguments = ""
        """Of the open block, if it is a call."""

    def begin(self) -> str:
        return _data(MessageEvent(type="message_start", message=self.body))

    def ping(self, progress: str) -> ServerSentEvent:
        return ServerSentEvent(event="ping", data='{"type": "ping"}', comment=progress, sep="\n")

    def event(self, index: int, event: GenerationEvent) -> str:  # noqa: ARG002  (there is one answer)
        return "".join(_data(told) for delta in event.deltas for told in self._add(delta))

    def end(self) -> str:
        return "".join(map(_data, self._end()))

    def error(self, refusal: Refusal) -> str:
        return _data(MessageEvent(type="error", error=refusal.message_body.error))

    def whole(self, answers: Sequence[Sequence[GenerationEvent]]) -> MessageBody:
        for event in answers[0]:
            for delta in event.deltas:
                list(self._add(delta))
        *_, last, _ = self._end()
        self.body.timings, self.body.metrics = last.timings, last.metrics
        return self.body

    def _add(self, delta: Delta) -> Iterator[MessageEvent]:
        """To the block that is open, or to the next."""
        begun = begun_block(delta)
        last = self.body.content[-1] if self._open else None
        if begun and (isinstance(begun, MessageToolUse) or type(begun) is not type(last)):
            yield from self._close()
            self.body.content.append(begun)
            self._open = True
            yield self._told("content_block_start", content_block=begun.model_copy())
        if added := self._grow(delta):
            yield self._told("content_block_delta", delta=added)

    def _grow(self, delta: Delta) -> MessageBlockDelta | None:
        match delta, self.body.content[-1]:
            case ContentDelta(text), MessageText() as block if text:
                block.text += text
                return MessageBlockDelta(type="text_delta", text=text)
            case ReasoningDelta(text), MessageThinking() as block if text:
                block.thinking += text
                return MessageBlockDelta(type="thinking_delta", thinking=text)
            case ToolCallDelta(arguments=text), MessageToolUse() if text:
                self._arguments += text
                return MessageBlockDelta(type="input_json_delta", partial_json=text)
            case _:
                return None

    def _close(self) -> Iterator[MessageEvent]:
        if not self._open:
            return
        block = self.body.content[-1]
        if isinstance(block, MessageToolUse):
            block.input = arguments_of(self._arguments)
            self._arguments = ""
        elif isinstance(block, MessageThinking):
            block.signature = UNSIGNED
            yield self._told("content_block_delta", delta=MessageBlockDelta(type="signature_delta", signature=UNSIGNED))
        yield self._told("content_block_stop")
        self._open = False

    def _end(self) -> Iterator[MessageEvent]:
        yield from self._close()
        (end,) = self._run.endings
        calls = any(isinstance(block, MessageToolUse) for block in self.body.content)
        why = MessageEnd(stop_reason=stop_reason(end, calls=calls), stop_sequence=None)
        if why.stop_reason == "stop_sequence" and end:
            why.stop_sequence = str(end.stop)
        figures = self._run.figures()
        self.body.usage = MessageUsage.of(figures.usage)
        self.body.stop_reason, self.body.stop_sequence = why.stop_reason, why.stop_sequence
        yield MessageEvent(
            type="message_delta",
            delta=why,
            usage=self.body.usage,
            timings=figures.timings,
            metrics=figures.metrics,
        )
        yield MessageEvent(type="message_stop")

    def _told(self, name: str, **fields: Any) -> MessageEvent:
        return MessageEvent(type=name, index=len(self.body.content) - 1, **fields)


def _data(event: MessageEvent) -> str:
    return f"event: {event.type}\ndata: {event.to_json()}\n\n"


def begun_block(delta: Delta) -> MessageBlock | None:
    """The block that a delta begins where none of its kind is open, still empty; None where it goes on with a call."""
    match delta:
        case ContentDelta():
            return MessageText(type="text", text="")
        case ReasoningDelta():
            return MessageThinking(type="thinking", thinking="", signature="")
        case ToolCallDelta(_, call_id, name):
            return None if call_id is None else MessageToolUse(type="tool_use", id=call_id, name=name or "", input={})


def arguments_of(text: str) -> dict[str, Any]:
    """As far as they go: an answer may be cut in a call, and without a grammar a model may write what is no JSON."""
    with suppress(ValueError):
        found = from_json(text, allow_partial=True)
        return found if isinstance(found, dict) else {}
    return {}


def stop_reason(end: Ending | None, *, calls: bool) -> StopReason:
    """An answer that was cancelled is cut, as one that ran out of tokens is."""
    if end is None or end.reason != "stop":
        return "max_tokens"
    if isinstance(end.stop, str):
        return "stop_sequence"
    return "tool_use" if calls else "end_turn"
