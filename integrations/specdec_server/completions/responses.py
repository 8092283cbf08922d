"""From the engine's events to what a completion's client reads, streamed or whole."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

from specdec.types import Completion, FinishReason, GenerationEvent, Token
from specdec_server.completions.schemas import (
    CompletionChoice,
    CompletionLogprobs,
    CompletionRequest,
    TextCompletion,
)
from specdec_server.runs import Run
from specdec_server.schemas import LEAST_LOGPROB
from specdec_server.streaming import ChunkWriter


class CompletionWriter(ChunkWriter):
    """A chunk for each round."""

    prefix, chunk, kind = "cmpl", TextCompletion, "text_completion"

    def __init__(self, run: Run, model: str, body: CompletionRequest) -> None:
        super().__init__(run, model, body)
        self._logprobs = body.logprobs is not None
        self._length = [0] * len(run.endings)
        """Characters sent of each choice."""

    def event(self, index: int, event: GenerationEvent) -> str:
        if not event.text and not event.tokens and not event.end:
            return ""
        choice = self._choice(index, event.text, event.tokens, event.end.reason if event.end else None)
        self._length[index] += len(event.text)
        return self._data(choice, finished=event.end is not None)

    def whole(self, answers: Sequence[Sequence[GenerationEvent]]) -> TextCompletion:
        completions = enumerate(map(Completion.of, answers))
        choices = [self._choice(index, c.text, c.tokens, c.finish_reason) for index, c in completions]
        return TextCompletion(object="text_completion", choices=choices, **self._head, **vars(self._run.figures()))

    def _choice(self, index: int, text: str, tokens: Sequence[Token], reason: FinishReason | None) -> CompletionChoice:
        logprobs = None
        if self._logprobs:
            logprobs = CompletionLogprobs(
                tokens=[t.own.text for t in tokens],
                token_logprobs=[max(t.own.logprob, LEAST_LOGPROB) for t in tokens],
                top_logprobs=[{top.text: max(top.logprob, LEAST_LOGPROB) for top in t.top_logprobs} for t in tokens],
                text_offset=list(accumulate((len(t.text) for t in tokens), initial=self._length[index]))[:-1],
            )
        finish = "length" if reason == "cancelled" else reason
        choice = CompletionChoice(index=index, text=text, logprobs=logprobs, finish_reason=finish)
        if self._token_ids:
            choice.token_ids = [t.id for t in tokens]
        return choice
