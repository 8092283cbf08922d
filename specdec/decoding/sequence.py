"""One request on its way through the engine: its tokens, its sampler, its outgoing text and its counts."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from specdec.decoding.speculation.acceptance import Acceptance
from specdec.decoding.speculation.controller import Option
from specdec.decoding.speculation.stats import StatsBuilder
from specdec.drafters.base import DraftContext
from specdec.errors import GrammarFailed, InvalidLogits
from specdec.grammars.matcher import Fate
from specdec.sampling.logprobs import logprobs
from specdec.sampling.state import SamplerState
from specdec.text.output import OutputText, Released
from specdec.text.tools.parser import AnswerParser
from specdec.types import (
    Ending,
    FinishReason,
    GenerationEvent,
    Origin,
    Request,
    Round,
    Speculation,
    Timing,
    Token,
    TokenLogprob,
    Usage,
    merged,
)

_FREE = Fate()
Deliver = Callable[[GenerationEvent | BaseException], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one verify round decided for one sequence."""

    tokens: list[int]
    """The accepted drafts, then the target's own token. Negative where the logits name none."""
    round: Round | None
    """None for the token that comes out of prefill."""
    logits: Tensor | None = None
    """The target's raw logits [n, V] at those positions; None of a round on the device."""
    features: Tensor | None = None
    """[n, ...], the target's features at the positions before them, if a drafter reads some."""
    option: Option | None = None
    """Where the drafts came from."""
    timed: bool = True
    """Whether its times say what such a round takes."""
    on_device: bool = False
    """Whether the device led it."""


@dataclass(slots=True, eq=False)
class Running:
    """A request in flight. Only the worker touches it, but for `cancelled`, which any thread may set."""

    request: Request
    context: DraftContext
    sampler: SamplerState
    output: OutputText
    parser: AnswerParser
    token_text: Callable[[int], str]
    """One token, for display."""
    token_bytes: Callable[[int], bytes]
    """The same, as bytes."""
    end_ids: frozenset[int]
    """Token ids that end the answer and are not part of it."""
    limit: int
    """Prompt and answer together never exceed this many tokens."""
    max_drafts: int | None
    """Drafts a round: None for as many as pay, 0 for none, else exactly this many where there is room."""
    acceptance: Acceptance
    deliver: Deliver
    speculation: Speculation
    """What was decided for its last round."""
    warning: str | None = None
    cached: int | None = None
    """How many tokens of the prompt an earlier sequence left; None until they were looked for."""
    cancelled: bool = False
    finish: FinishReason | None = None
    stop: str | int | None = None
    stats: StatsBuilder = field(default_factory=StatsBuilder)
    received: float = field(default_factory=time.perf_counter)
    started: float = 0.0
    first: float = 0.0
    _pending: dict[int, tuple[int, Origin, float | None, tuple[tuple[int, float], ...]]] = field(default_factory=dict)
    _pushed: int = 0
    _released: int = 0

    @property
    def tokens(self) -> list[int]:
        return self.context.tokens

    @property
    def deadline(self) -> float:
        return self.received + (math.inf if self.request.timeout is None else self.request.timeout)

    @property
    def prefilled(self) -> bool:
        """True when only the last token still has to go through the target."""
        return len(self.tokens) > self.context.prompt_length

    @property
    def room(self) -> int:
        """How many tokens may still be drafted in a round, which always adds one of the target's own."""
        return self.limit - len(self.tokens) - 1

    def decided(self, speculation: Speculation, warning: str | None) -> None:
        """What the controller decided for the next round."""
        self.warning = warning
        if self.max_drafts is None and self.room > 0:  # the last token of an answer is never drafted
            self.speculation = speculation

    def commit(self, outcome: Outcome) -> GenerationEvent:
        """Take over a round's tokens up to the end of the answer; returns what may be shown now. Raises GrammarFailed
        where the answer had to go on and could not, InvalidLogits where the model says nothing."""
        if min(outcome.tokens) < 0:
            written = len(self.tokens) - self.context.prompt_length
            raise InvalidLogits(_undefined(written + next(i for i, t in enumerate(outcome.tokens) if t < 0)))
        if not self.first:
            self.first = time.perf_counter()
        pieces: list[Token] = []
        scored = self._scores(outcome)
        committed: list[int] = []
        grammar = self.sampler.grammar
        fate = _FREE if grammar is None else grammar.fate(outcome.tokens)
        for i, token in enumerate(outcome.tokens):
            if i == fate.stuck:
                raise GrammarFailed(_stuck(len(self.tokens) + i - self.context.prompt_length))
            committed.append(token)
            if token in self.end_ids:
                self.finish, self.stop = "stop", token
            else:
                pieces += self._push(token, self._origin(i, outcome), scored[i])
                if self.finish is None and i == fate.complete:
                    self.finish = "stop"
                if self.finish is None and len(self.tokens) + len(committed) >= self.limit:
                    self.finish = "length"
            if self.finish:
                break
        self.tokens.extend(committed)
        self.sampler.commit(committed)
        if outcome.round:
            self.stats.add(outcome.round, self.speculation, time.perf_counter() - self.first)
        return self._event(pieces, self._told(outcome.round))

    def _told(self, round: Round | None) -> Round | None:
        """With the texts of what was rejected, which only the tokenizer knows."""
        rejected = round.drafted[round.accepted :] if round else ()
        return replace(round, rejected=tuple(map(self.token_text, rejected))) if round and rejected else round

    def _scores(self, outcome: Outcome) -> Sequence[tuple[float | None, tuple[tuple[int, float], ...]]]:
        top = self.sampler.params.logprobs
        if top is None or outcome.logits is None:
            return [(None, ())] * len(outcome.tokens)
        tokens = outcome.logits.new_tensor(outcome.tokens).long()
        return logprobs(outcome.logits[: len(tokens)], tokens, top)

    @staticmethod
    def _origin(index: int, outcome: Outcome) -> Origin:
        if outcome.round is None or not outcome.round.drafted:
            return "plain"
        if index < outcome.round.accepted:
            return "accepted"
        return "bonus" if outcome.round.accepted == len(outcome.round.drafted) else "recovered"

    def _push(
        self, token: int, origin: Origin, score: tuple[float | None, tuple[tuple[int, float], ...]]
    ) -> list[Token]:
        self._pending[self._pushed] = (token, origin, *score)
        self._pushed += 1
        released = self.output.push(token)
        if released.stop is not None:
            self.finish, self.stop = "stop", released.stop
        return self._release(released)

    def _release(self, released: Released) -> list[Token]:
        self._released += len(released.pieces)
        return [self._token(index, text) for index, text in released.pieces]

    def _token(self, index: int, text: str) -> Token:
        token, origin, logprob, top = self._pending.pop(index)
        if logprob is None:
            return Token(token, text, origin)
        likely = tuple(TokenLogprob(i, self.token_text(i), score, self.token_bytes(i)) for i, score in top)
        return Token(token, text, origin, logprob, likely, self.token_bytes(token))

    def _flush(self) -> list[Token]:
        """What was held back; a stop string that was waiting for an earlier one may still come out of it."""
        released = self.output.finish()
        if released.stop is not None:
            self.finish, self.stop = "stop", released.stop
        return self._release(released)

    def _event(self, pieces: list[Token], round: Round | None) -> GenerationEvent:
        if self.finish is not None and not isinstance(self.stop, str):
            pieces += self._flush()
        deltas = [delta for token in pieces for delta in self.parser.push(token.id, token.text)]
        if self.finish is not None:
            deltas += self.parser.finish(cut=self.finish == "length")
        text = "".join(token.text for token in pieces)
        end = self._ending(self.finish) if self.finish is not None else None
        return GenerationEvent(self.request.id, text, tuple(pieces), round, merged(deltas), end)

    def _ending(self, reason: FinishReason) -> Ending:
        now = time.perf_counter()
        return Ending(
            reason,
            Usage(self.context.prompt_length, self._released, self.cached or 0),
            Timing(self.started - self.received, self.first - self.received, now - self.received),
            self.stats.build(self.speculation, self.warning),
            self.sampler.seed,
            self.stop,
        )


def _undefined(tokens: int) -> str:
    return (
        f"the model's logits are NaN or infinite after {tokens} tokens of the answer; "
        "expected weights without NaN, and a dtype that is wide enough for them, like float32"
    )


def _stuck(tokens: int) -> str:
    return (
        f"grammar: after {tokens} tokens the answer cannot go on; "
        "expected a grammar that the vocabulary can write and that is not too complex"
    )
