"""Draft and verify many toy sequences through the whole sampling chain, as the engine would."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from specdec.grammars.matcher import Matcher
from specdec.sampling import accept
from specdec.sampling.accept import Verdict
from specdec.sampling.batch import SamplingBatch
from specdec.sampling.noise import Stream
from specdec.sampling.state import SamplerState
from specdec.types import SamplingParams

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Round:
    """All that an accept rule may look at."""

    batch: SamplingBatch
    positions: Sequence[int]
    logits: Tensor
    drafted: Tensor
    lengths: Tensor
    probs: Tensor


@dataclass(frozen=True)
class Rule:
    stream: Stream
    """What the drafter draws with."""
    verdict: Callable[[Round], Verdict]


def _coupled(r: Round) -> Verdict:
    noise = r.batch.gumbel(r.positions, r.logits.shape[1], Stream.TARGET)
    return accept.coupled(r.logits, r.drafted, r.lengths, noise)


def _rejection(r: Round, probs: Tensor | None) -> Verdict:
    noise = r.batch.gumbel(r.positions, r.logits.shape[1], Stream.RESIDUAL)
    uniform = r.batch.uniform(r.positions, r.drafted.shape[1])
    return accept.rejection(r.logits, r.drafted, r.lengths, probs, uniform, noise, r.batch.greedy_rows)


COUPLED = Rule(Stream.TARGET, _coupled)
REJECTION = Rule(Stream.DRAFT, lambda r: _rejection(r, r.probs))
CERTAIN = Rule(Stream.DRAFT, lambda r: _rejection(r, None))
RULES = {"coupled": COUPLED, "rejection": REJECTION}


@dataclass(frozen=True)
class Toy:
    """A model whose next logits depend on the position and on the last token: tables [P, C, V]."""

    tables: Tensor

    def __call__(self, position: Tensor, last: Tensor) -> Tensor:
        """Logits [..., V] for the token at output `position` after token `last`."""
        return self.tables[position % self.tables.shape[0], last % self.tables.shape[1]]

    def raw(self, output: Sequence[int], start: int) -> list[float]:
        """The same for `reference.joint`; `start` is the last token of the prompt."""
        last = output[-1] if output else start
        return self(torch.tensor(len(output)), torch.tensor(last)).tolist()


@dataclass
class Simulation:
    """Sequences of `length` tokens, `target` verifying what `draft` proposes, k at a time.

    `certain`: the drafter takes its most likely token, without distribution. `ragged`: rows of a round have fewer
    drafts than k, by turns.
    """

    target: Toy
    draft: Toy
    params: SamplingParams
    k: int
    length: int
    rule: Rule
    prompt: tuple[int, ...] = (0,)
    stops: frozenset[int] = frozenset()
    certain: bool = False
    ragged: bool = False
    grammar: Callable[[], Matcher] | None = None
    drafted: int = field(default=0, init=False)
    accepted: int = field(default=0, init=False)

    def run(self, seeds: Sequence[int], chunk: int = 4096) -> Tensor:
        """Output tokens [len(seeds), length]."""
        return torch.cat([self._run(seeds[i : i + chunk]) for i in range(0, len(seeds), chunk)])

    def _run(self, seeds: Sequence[int]) -> Tensor:
        vocab = self.target.tables.shape[-1]
        states = [SamplerState(self.params, s, self.prompt, self.stops, vocab, CPU, self._matcher()) for s in seeds]
        outputs: list[list[int]] = [[] for _ in seeds]
        while active := [i for i, output in enumerate(outputs) if len(output) < self.length]:
            batch = SamplingBatch([states[i] for i in active])
            for i, tokens in zip(active, self._round(batch, [outputs[i] for i in active]), strict=True):
                outputs[i] += tokens
                states[i].commit(tokens)
        return torch.tensor([output[: self.length] for output in outputs])

    def _matcher(self) -> Matcher | None:
        return self.grammar() if self.grammar else None

    def _round(self, batch: SamplingBatch, outputs: Sequence[Sequence[int]]) -> list[list[int]]:
        positions = [len(output) for output in outputs]
        last = torch.tensor([[*self.prompt, *output][-1] for output in outputs])
        drafted, probs = self._propose(batch, positions, last)
        at = torch.tensor(positions).unsqueeze(1) + torch.arange(self.k + 1)
        logits = batch.process(self.target(at, torch.cat([last.unsqueeze(1), drafted], 1)), drafted, 0)
        full = torch.full((len(outputs),), self.k)
        lengths = torch.arange(len(outputs)) % (self.k + 1) if self.ragged else full
        verdict = self.rule.verdict(Round(batch, positions, logits, drafted, lengths, probs))
        self.drafted += int(lengths.sum())
        self.accepted += int(verdict.accepted.sum())
        rows = zip(verdict.tokens.tolist(), verdict.accepted.tolist(), strict=True)
        return [tokens[: count + 1] for tokens, count in rows]

    def _propose(self, batch: SamplingBatch, positions: Sequence[int], last: Tensor) -> tuple[Tensor, Tensor]:
        """Drafts [B, k] and their q [B, k, V]."""
        noise = None if self.certain else batch.gumbel(positions, self.k, self.rule.stream)
        drafted, probs = last.new_zeros(len(positions), 0), []
        for j in range(self.k):
            logits = self.draft(torch.tensor(positions) + j, last).unsqueeze(1)
            scores = batch.process(logits, drafted, j)[:, 0]
            last = (scores if noise is None else scores + noise[:, j]).argmax(-1)
            probs.append(scores.softmax(-1))
            drafted = torch.cat([drafted, last.unsqueeze(1)], 1)
        return drafted, torch.stack(probs, 1) if probs else torch.empty(len(positions), 0, 0)


def resolved(**values: object) -> SamplingParams:
    """Parameters with nothing left to default."""
    return SamplingParams(**values).with_defaults({})  # type: ignore[arg-type]
