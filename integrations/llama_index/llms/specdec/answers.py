"""From the engine's answers to LlamaIndex's responses.

A response holds all of the answer so far, as the framework expects of every chunk of a stream; the last one also has
`raw` (usage, why it ended, seed) and `additional_kwargs` (token counts, speed, what speculation did). Until then `raw`
is None.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    ContentBlock,
    LogProb,
    MessageRole,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)

from llama_index.llms.specdec.tools import parsed
from specdec.frameworks import figures
from specdec.types import Answer, Completion, GenerationEvent

R = TypeVar("R")
Shape = Callable[[Answer, Answer], R]
"""The response that shows an answer so far, and what of it is new."""


class Responses(Generic[R]):
    """Turns the events of one answer into responses."""

    def __init__(self, shape: Shape[R]) -> None:
        self._shape = shape
        self._answer = Answer()

    def of(self, event: GenerationEvent) -> Iterator[R]:
        """None where there is nothing new to show."""
        self._answer.add(event)
        if event.deltas or event.end:
            new = Answer()
            new.add(event)
            yield self._shape(self._answer, new)


def chat_response(answer: Answer | Completion, new: Answer | None = None) -> ChatResponse:
    """As an assistant's message."""
    said = answer.message
    blocks: list[ContentBlock] = []
    if said.reasoning:
        blocks.append(ThinkingBlock(content=said.reasoning))
    if said.content is not None:
        blocks.append(TextBlock(text=said.content))
    calls = []  # in the form in which the framework's function-calling programs look for them
    for call in said.tool_calls:
        whole = parsed(call.arguments, partial=False)
        kwargs = call.arguments if whole is None else whole  # what is not a whole JSON object yet stays text
        blocks.append(ToolCallBlock(tool_call_id=call.id, tool_name=call.name, tool_kwargs=kwargs))
        function = {"name": call.name, "arguments": call.arguments}
        calls.append({"id": call.id, "type": "function", "function": function})
    kwargs = {"tool_calls": calls} if calls else {}
    message = ChatMessage(role=MessageRole.ASSISTANT, blocks=blocks, additional_kwargs=kwargs)
    return ChatResponse(message=message, **_about(answer, new))


def completion_response(answer: Answer | Completion, new: Answer | None = None) -> CompletionResponse:
    """As text."""
    return CompletionResponse(text=answer.message.content or "", **_about(answer, new))


def _about(answer: Answer | Completion, new: Answer | None) -> dict[str, Any]:
    """What responses have beside the answer."""
    shown: dict[str, Any] = {"thinking_delta": new.reasoning} if new and new.reasoning else {}
    about: dict[str, Any] = {"delta": new.content if new else None, "additional_kwargs": shown}
    if (end := answer.end) is None:
        return about
    prompt, written = end.usage.prompt_tokens, end.usage.completion_tokens
    total = None if prompt is None or written is None else prompt + written
    known = {"prompt_tokens": prompt, "completion_tokens": written, "total_tokens": total}
    counts = {name: n for name, n in known.items() if n is not None}
    shown |= counts | figures(end)
    about["raw"] = {
        "id": answer.request_id,
        "finish_reason": "tool_calls" if answer.message.tool_calls and end.reason == "stop" else end.reason,
        "stop": end.stop,
        "seed": end.seed,
        "usage": counts | {"prompt_tokens_details": {"cached_tokens": end.usage.cached_tokens}},
    }
    if any(token.logprob is not None for token in answer.tokens):
        # for each token its own logprob, then those of the most likely ones
        about["logprobs"] = [
            [LogProb(token=t.text, logprob=t.logprob, bytes=list(t.bytes)) for t in (token.own, *token.top_logprobs)]
            for token in answer.tokens
        ]
    return about
