"""From the engine's events to what a completion's client reads, streamed or whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from specdec.types import GenerationEvent, Token
from specdec_server.common.answer import ChunkStream, Form
from specdec_server.common.figures import Tally
from specdec_server.common.logprobs import floor
from specdec_server.completions.wire import CompletionChoice, CompletionLogprobs, TextCompletion


class CompletionStream(ChunkStream):
    """A line for each round."""

    def __init__(self, form: Form, tallies: Sequence[Tally]) -> None:
        super().__init__(form, tallies)
        self._length = [0] * len(tallies)
        """Characters sent of each choice."""

    def on(self, index: int, event: GenerationEvent) -> Iterator[str]:
        if event.text or event.tokens or event.finish_reason:
            choice = _choice(self._form, index, [event], self._length[index])
            self._length[index] += len(event.text)
            yield self._sent(choice, finished=event.finish_reason is not None)

    def _chunk(self, choices: list[CompletionChoice]) -> TextCompletion:
        return TextCompletion(object="text_completion", choices=choices, **self._form.head)


def whole(form: Form, answers: Sequence[Sequence[GenerationEvent]], tallies: Sequence[Tally]) -> TextCompletion:
    """The answer at once, from the events of each choice."""
    choices = [_choice(form, index, events, 0) for index, events in enumerate(answers)]
    completion = TextCompletion(object="text_completion", choices=choices, **form.head)
    completion.add_figures(tallies)
    return completion


def _choice(form: Form, index: int, events: Sequence[GenerationEvent], offset: int) -> CompletionChoice:
    tokens = [t for e in events for t in e.tokens]
    reason = events[-1].finish_reason
    choice = CompletionChoice(
        index=index,
        text="".join(e.text for e in events),
        logprobs=_logprobs(tokens, offset) if form.logprobs else None,
        finish_reason="length" if reason == "cancelled" else reason,
    )
    if form.token_ids:
        choice.token_ids = [t.id for t in tokens]
    return choice


def _logprobs(tokens: Sequence[Token], offset: int) -> CompletionLogprobs:
    offsets = []
    for token in tokens:
        offsets.append(offset)
        offset += len(token.text)
    return CompletionLogprobs(
        tokens=[t.own.text for t in tokens],
        token_logprobs=[floor(t.logprob) for t in tokens],
        top_logprobs=[{top.text: floor(top.logprob) for top in t.top_logprobs} for t in tokens],
        text_offset=offsets,
    )
