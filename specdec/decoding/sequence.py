"""One request on its way through the engine: its tokens, its sampler, its outgoing text and its counts."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from specdec.decoding.speculation.acceptance import Acceptance
from specdec.decoding.speculation.controller import Option
from specdec.decoding.speculation.stats import StatsBuilder
from specdec.drafters.base import DraftContext
from specdec.engine import Deliver
from specdec.errors import DeadlineExceeded, GrammarFailed, InvalidLogits
from specdec.sampling.logprobs import logprobs
from specdec.sampling.state import SamplerState
from specdec.text.output import AnswerText
from specdec.text.tools.parser import Parser
from specdec.types import (
    Delta,
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

Score = tuple[float | None, tuple[tuple[int, float], ...]]
"""A token's logprob, and the most likely tokens with theirs."""
_UNSCORED: Score = (None, ())


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
    on_device: bool = False
    """Whether the device led it."""


@dataclass(slots=True, eq=False)
class Running:
    """A request in flight. Only the worker touches it, but for `cancelled`, which any thread may set."""

    request: Request
    context: DraftContext
    tokens: list[int]
    """The context's own: the prompt and what was committed."""
    sampler: SamplerState
    output: AnswerText
    parser: Parser
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
    turn: int = 0
    """The number of the chunk of its prompt that was read last; chunks of all prompts are counted."""
    cached: int | None = None
    """How many tokens of the prompt an earlier sequence left; None until they were looked for."""
    paused: bool = False
    """Whether it has given its slot back: the tokens that it had have to go through the target again."""
    cancelled: bool = False
    finish: FinishReason | None = None
    stop: str | int | None = None
    stats: StatsBuilder = field(default_factory=StatsBuilder)
    received: float = field(default_factory=time.perf_counter)
    deadline: float = math.inf
    """By when the answer has to be finished."""
    started: float = 0.0
    first: float = 0.0
    shown: int = 0
    """Tokens that their reader has got."""
    reasoned: int = 0
    """Those of them within thoughts."""
    _pending: deque[tuple[int, Origin, *Score]] = field(default_factory=deque)
    """Tokens whose text is held back."""

    @property
    def prefilled(self) -> bool:
        """True when only the last token still has to go through the target."""
        return len(self.tokens) > self.context.prompt_length and not self.paused

    @property
    def written(self) -> int:
        """Tokens of the answer so far."""
        return len(self.tokens) - self.context.prompt_length

    @property
    def room(self) -> int:
        """How many tokens may still be drafted in a round, which always adds one of the target's own."""
        return self.limit - len(self.tokens) - 1

    def overdue(self) -> DeadlineExceeded:
        """What its reader is told once the deadline has passed."""
        began = f"got a slot after {self.started - self.received:.3g} s, {self.written} tokens were written"
        return DeadlineExceeded(
            f"timeout is {self.request.timeout:g} s; expected more: the request "
            f"{began if self.started else 'still waits'}"
        )

    def commit(self, outcome: Outcome) -> GenerationEvent:
        """Take over a round's tokens up to the end of the answer; returns what may be shown now. Raises GrammarFailed
        where the answer had to go on and could not, InvalidLogits where the model says nothing."""
        if min(outcome.tokens) < 0:
            undefined = next(i for i, token in enumerate(outcome.tokens) if token < 0)
            raise InvalidLogits(
                f"the model's logits are NaN or infinite after {self.written + undefined} tokens of the answer; "
                "expected weights without NaN, and a dtype that is wide enough for them, like float32"
            )
        self.first = self.first or time.perf_counter()
        committed, texts = self._taken(outcome)
        self.tokens.extend(committed)
        self.sampler.commit(committed)
        if self.finish is not None and self.output.stop is None:
            texts += self.output.finish()
            if self.output.stop is not None:
                self.finish, self.stop = "stop", self.output.stop
        round = outcome.round
        if round:
            if round.accepted > (kept := len(committed)):  # what was drafted behind the end counts for nothing
                round = replace(round, drafted=round.drafted[:kept], accepted=kept)
            self.stats.add(round, self.speculation, time.perf_counter() - self.first)
            rejected = tuple(map(self.token_text, round.drafted[round.accepted :]))
            round = replace(round, rejected=rejected) if rejected else round
        return self._event(self._released(texts), round)

    def _taken(self, outcome: Outcome) -> tuple[list[int], list[str]]:
        """Of a round's tokens those up to the end of the answer, and the texts that may be shown: what may still become
        a stop string is held back."""
        grammar, committed, texts = self.sampler.grammar, list[int](), list[str]()
        allowed, complete = (len(outcome.tokens), False) if grammar is None else grammar.progress(outcome.tokens)
        drafted, accepted = (len(outcome.round.drafted), outcome.round.accepted) if outcome.round else (0, 0)
        own: Origin = "plain" if not drafted else "bonus" if accepted == drafted else "recovered"
        top = self.sampler.params.logprobs
        scores: Sequence[Score] = [_UNSCORED] * len(outcome.tokens)
        if top is not None and outcome.logits is not None:
            tokens = outcome.logits.new_tensor(outcome.tokens).long()
            scores = logprobs(outcome.logits[: len(tokens)], tokens, top)
        for i, (token, score) in enumerate(zip(outcome.tokens, scores, strict=True)):
            if i == allowed:
                raise GrammarFailed(
                    f"grammar: after {self.written + i} tokens the answer cannot go on; "
                    "expected a grammar that the vocabulary can write and that is not too complex"
                )
            committed.append(token)
            if token in self.end_ids:
                self.finish, self.stop = "stop", token
            else:
                self._pending.append((token, "accepted" if i < accepted else own, *score))
                texts += self.output.push(token)
                self.stop = self.output.stop
            if self.stop is not None or (complete and i == allowed - 1):
                self.finish = "stop"
            elif len(self.tokens) + len(committed) >= self.limit:
                self.finish = "length"
            if self.finish:
                break
        return committed, texts

    def _released(self, texts: Sequence[str]) -> list[Token]:
        """The tokens whose texts may be shown now."""
        tokens = []
        for text in texts:
            token, origin, logprob, top = self._pending.popleft()
            if logprob is None:
                tokens.append(Token(token, text, origin))
            else:
                likely = tuple(TokenLogprob(i, self.token_text(i), score, self.token_bytes(i)) for i, score in top)
                tokens.append(Token(token, text, origin, logprob, likely, self.token_bytes(token)))
        self.shown += len(tokens)
        return tokens

    def _event(self, pieces: Sequence[Token], round: Round | None) -> GenerationEvent:
        """What a round comes to for the reader; at the end with all that was held back."""
        deltas = list[Delta]()
        for token in pieces:
            thinking = self.parser.thinking
            deltas += self.parser.push(token.id, token.text)
            self.reasoned += thinking and self.parser.thinking
        end = None
        if self.finish is not None:
            deltas += self.parser.finish(cut=self.finish == "length")
            now = time.perf_counter()
            end = Ending(
                self.finish,
                Usage(self.context.prompt_length, self.shown, self.cached or 0, self.reasoned),
                Timing(self.started - self.received, self.first - self.received, now - self.received),
                self.stats.build(self.speculation, self.warning),
                self.sampler.seed,
                self.stop,
            )
        text = "".join(token.text for token in pieces)
        return GenerationEvent(self.request.id, text, tuple(pieces), round, merged(deltas), end)
