"""From the engine's events to what a chat's client reads, streamed or whole."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from specdec.types import (
    Completion,
    ContentDelta,
    Delta,
    Ending,
    GenerationEvent,
    ReasoningDelta,
    Token,
    ToolCallDelta,
)
from specdec_server.chat.schemas import (
    ChatCompletion,
    ChatCompletionChoice,
    ChatCompletionChunk,
    ChatCompletionMessage,
    ChatCompletionRequest,
    ChatTokenLogprob,
    ChoiceDelta,
    ChoiceDeltaFunction,
    ChoiceDeltaToolCall,
    ChoiceLogprobs,
    ChunkChoice,
    Finish,
    FunctionCall,
    MessageToolCall,
    TopLogprob,
)
from specdec_server.runs import Run
from specdec_server.schemas import LEAST_LOGPROB
from specdec_server.streaming import ChunkWriter


class ChatWriter(ChunkWriter):
    """The role first, then a chunk for each round (and for each further call in it), the reason at the end."""

    prefix, chunk, kind = "chatcmpl", ChatCompletionChunk, "chat.completion.chunk"

    def __init__(self, run: Run, model: str, body: ChatCompletionRequest) -> None:
        super().__init__(run, model, body)
        self._logprobs = bool(body.logprobs)
        self._begun: set[int] = set()
        self._calling: set[int] = set()

    def event(self, index: int, event: GenerationEvent) -> str:
        parts: list[tuple[ChoiceDelta, Sequence[Token], Finish | None]] = []
        if index not in self._begun:
            self._begun.add(index)
            parts.append((ChoiceDelta(role="assistant", content="", refusal=None), (), None))
        first, *others = choice_deltas(event.deltas)
        if first.tool_calls:
            self._calling.add(index)
        if first.model_fields_set or (event.tokens and (self._logprobs or self._token_ids)):
            parts.append((first, event.tokens, None))
        parts += [(delta, (), None) for delta in others]
        if event.end:
            parts.append((ChoiceDelta(), (), finish_of(event.end, calls=index in self._calling)))
        block = ""
        for delta, tokens, finish in parts:
            logprobs = chat_logprobs(tokens) if self._logprobs and tokens else None
            choice = ChunkChoice(index=index, delta=delta, logprobs=logprobs, finish_reason=finish)
            if self._token_ids:
                choice.token_ids = [t.id for t in tokens]
            block += self._data(choice, finished=finish is not None)
        return block

    def whole(self, answers: Sequence[Sequence[GenerationEvent]]) -> ChatCompletion:
        choices = []
        for index, answer in enumerate(map(Completion.of, answers)):
            message = ChatCompletionMessage(role="assistant", content=answer.message.content, refusal=None)
            if answer.message.reasoning is not None:
                message.reasoning_content = answer.message.reasoning
            if calls := answer.message.tool_calls:
                message.tool_calls = [
                    MessageToolCall(id=c.id, type="function", function=FunctionCall(name=c.name, arguments=c.arguments))
                    for c in calls
                ]
            choice = ChatCompletionChoice(
                index=index,
                message=message,
                logprobs=chat_logprobs(answer.tokens) if self._logprobs else None,
                finish_reason=finish_of(answer.end, calls=bool(calls)),
            )
            if self._token_ids:
                choice.token_ids = list(answer.token_ids)
            choices.append(choice)
        return ChatCompletion(object="chat.completion", choices=choices, **self._head, **vars(self._run.figures()))


def finish_of(end: Ending, *, calls: bool) -> Finish:
    """An answer that was cancelled is cut, as one that ran out of tokens is."""
    if end.reason == "stop":
        return "tool_calls" if calls else "stop"
    return "length"


def choice_deltas(deltas: Iterable[Delta]) -> list[ChoiceDelta]:
    """All of a round's deltas as one, and one more for each further call: many clients read the first entry of
    `tool_calls` alone."""
    first, calls = ChoiceDelta(), list[ChoiceDeltaToolCall]()
    for delta in deltas:
        match delta:
            case ContentDelta(text):
                first.content = (first.content or "") + text
            case ReasoningDelta(text):
                first.reasoning_content = (first.reasoning_content or "") + text
            case ToolCallDelta(index, call_id, name, arguments):
                function = ChoiceDeltaFunction(arguments=arguments)
                if name is not None:
                    function.name = name
                call = ChoiceDeltaToolCall(index=index, function=function)
                if call_id is not None:
                    call.id, call.type = call_id, "function"
                calls.append(call)
    if calls:
        first.tool_calls = calls[:1]
    return [first, *(ChoiceDelta(tool_calls=[call]) for call in calls[1:])]


def chat_logprobs(tokens: Iterable[Token]) -> ChoiceLogprobs:
    """Per token, with its bytes: a token may be part of a character."""
    likely: list[list[dict[str, Any]]] = [
        [
            {"token": one.text, "logprob": max(one.logprob, LEAST_LOGPROB), "bytes": list(one.bytes)}
            for one in (token.own, *token.top_logprobs)
        ]
        for token in tokens
    ]
    return ChoiceLogprobs(
        content=[ChatTokenLogprob(**own, top_logprobs=[TopLogprob(**one) for one in top]) for own, *top in likely],
        refusal=None,
    )
