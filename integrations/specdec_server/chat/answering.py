"""From the engine's events to what a chat's client reads, streamed or whole."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from specdec.types import (
    Completion,
    ContentDelta,
    GenerationEvent,
    Message,
    ReasoningDelta,
    Token,
    ToolCallDelta,
)
from specdec.types import Delta as EngineDelta
from specdec.types import TokenLogprob as OneLogprob
from specdec_server.chat.wire import (
    CallDelta,
    ChatChunk,
    ChatCompletion,
    Choice,
    ChoiceLogprobs,
    ChunkChoice,
    Delta,
    Finish,
    FunctionDelta,
    SentCall,
    SentFunction,
    SentMessage,
    TokenLogprob,
    TopLogprob,
)
from specdec_server.common.answer import ChunkStream, Form
from specdec_server.common.deltas import joined
from specdec_server.common.figures import Tally
from specdec_server.common.logprobs import floor


class ChatStream(ChunkStream):
    """The role first, then a chunk for each round (and for each further call in it), the reason at the end."""

    def __init__(self, form: Form, tallies: Sequence[Tally]) -> None:
        super().__init__(form, tallies)
        self._begun: set[int] = set()
        self._calling: set[int] = set()

    def on(self, index: int, event: GenerationEvent) -> Iterator[str]:
        if index not in self._begun:
            self._begun.add(index)
            yield self._line(index, Delta(role="assistant", content="", refusal=None))
        first, *others = deltas_of(event.deltas)
        if first.tool_calls:
            self._calling.add(index)
        if first.model_fields_set or self._wants_tokens(event):
            yield self._line(index, first, event.tokens)
        for delta in others:
            yield self._line(index, delta)
        if event.finish_reason:
            yield self._line(index, Delta(), finish=finish_of(event, calls=index in self._calling))

    def _wants_tokens(self, event: GenerationEvent) -> bool:
        return bool(event.tokens) and (self._form.logprobs or self._form.token_ids)

    def _line(self, index: int, delta: Delta, tokens: Sequence[Token] = (), finish: Finish | None = None) -> str:
        logprobs = chat_logprobs(tokens) if self._form.logprobs and tokens else None
        choice = ChunkChoice(index=index, delta=delta, logprobs=logprobs, finish_reason=finish)
        if self._form.token_ids:
            choice.token_ids = [t.id for t in tokens]
        return self._sent(choice, finished=finish is not None)

    def _chunk(self, choices: list[ChunkChoice]) -> ChatChunk:
        return ChatChunk(object="chat.completion.chunk", choices=choices, **self._form.head)


def whole(form: Form, answers: Sequence[Sequence[GenerationEvent]], tallies: Sequence[Tally]) -> ChatCompletion:
    """The answer at once, from the events of each choice."""
    choices = [_choice(form, index, events) for index, events in enumerate(answers)]
    completion = ChatCompletion(object="chat.completion", choices=choices, **form.head)
    completion.add_figures(tallies)
    return completion


def _choice(form: Form, index: int, events: Sequence[GenerationEvent]) -> Choice:
    message = Completion.of(events).message
    tokens = [t for e in events for t in e.tokens]
    choice = Choice(
        index=index,
        message=_sent(message),
        logprobs=chat_logprobs(tokens) if form.logprobs else None,
        finish_reason=finish_of(events[-1], calls=bool(message.tool_calls)),
    )
    if form.token_ids:
        choice.token_ids = [t.id for t in tokens]
    return choice


def _sent(message: Message) -> SentMessage:
    sent = SentMessage(role="assistant", content=message.content, refusal=None)
    if message.reasoning is not None:
        sent.reasoning_content = message.reasoning
    if message.tool_calls:
        sent.tool_calls = [
            SentCall(id=c.id, type="function", function=SentFunction(name=c.name, arguments=c.arguments))
            for c in message.tool_calls
        ]
    return sent


def finish_of(event: GenerationEvent, *, calls: bool) -> Finish:
    """An answer that was cancelled is cut, as one that ran out of tokens is."""
    if event.finish_reason == "stop":
        return "tool_calls" if calls else "stop"
    return "length"


def deltas_of(deltas: Iterable[EngineDelta]) -> list[Delta]:
    """All of a round's deltas as one, and one more for each further call: many clients read the first entry of
    `tool_calls` alone."""
    first, calls = Delta(), list[CallDelta]()
    for delta in joined(deltas):
        match delta:
            case ContentDelta(text):
                first.content = (first.content or "") + text
            case ReasoningDelta(text):
                first.reasoning_content = (first.reasoning_content or "") + text
            case ToolCallDelta():
                calls.append(_call_delta(delta))
    if calls:
        first.tool_calls = calls[:1]
    return [first, *(Delta(tool_calls=[call]) for call in calls[1:])]


def _call_delta(delta: ToolCallDelta) -> CallDelta:
    function = FunctionDelta(arguments=delta.arguments)
    if delta.name is not None:
        function.name = delta.name
    call = CallDelta(index=delta.index, function=function)
    if delta.id is not None:
        call.id, call.type = delta.id, "function"
    return call


def chat_logprobs(tokens: Iterable[Token]) -> ChoiceLogprobs:
    """Per token, with its bytes: a token may be part of a character."""
    return ChoiceLogprobs(content=[_token_logprob(t) for t in tokens], refusal=None)


def _token_logprob(token: Token) -> TokenLogprob:
    likely = [TopLogprob(**_top(t)) for t in token.top_logprobs]
    return TokenLogprob(**_top(token.own), top_logprobs=likely)


def _top(token: OneLogprob) -> dict[str, Any]:
    return {"token": token.text, "logprob": floor(token.logprob), "bytes": list(token.bytes)}
