"""The figures that SpecDec promises, measured side by side in one run: ratios, so that any machine will do.

Each engine has a process of its own, and transformers this one, so that none shares its threads' cores with helpers
of another that wait.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from specdec.bench import memory
from specdec.bench.checkpoints import folder, hostile_draft
from specdec.bench.peers import Peer
from specdec.bench.prompts import BenchPrompt
from specdec.bench.systems import ours, request, warm_up
from specdec.bench.timing import (
    Runs,
    System,
    all_samples,
    interleaved,
    ratio,
    speed,
)
from specdec.engine import AcceptRule, Engine
from specdec.errors import InvalidRequest
from specdec.types import SpecStats

_ROOM = 0.10
"""Of the memory that plain, the draft's weights and its cache add up to."""
_FORCED_K = 4
_TEMPERATURES = (0.8, 1.0)
Load = Callable[[str, AcceptRule], Engine]
"""An engine with one slot, in a process of its own, from the name of a draft."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One promised figure."""

    name: str
    value: float
    target: float
    at_most: bool = False
    detail: str = ""

    @property
    def met(self) -> bool:
        return self.value <= self.target if self.at_most else self.value >= self.target


@dataclass(frozen=True, slots=True)
class RuleRow:
    """One accept rule at one temperature."""

    rule: str
    temperature: float
    tokens_per_second: float
    acceptance_length: float
    acceptance_per_position: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Bench:
    """What is measured, and how often."""

    target: str
    draft: str
    load: Load
    prompts: Sequence[BenchPrompt]
    max_tokens: int
    repeats: int

    def figures(self) -> Iterator[Figure]:
        """Every promised figure, as soon as it is known."""
        with ExitStack() as stack:
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            hostile = hostile_draft(folder(self._draft_name, "draft"), scratch / "hostile")
            engine = stack.enter_context(self.load(self.draft, "coupled"))
            misled = stack.enter_context(self.load(str(hostile), "coupled"))
            peer = Peer(
                folder(self.target, "target"),
                folder(self._draft_name, "draft"),
                engine.info.device,
                engine.info.dtype,
            )
            runs = {c: self._against_all(engine, misled, peer, c) for c in ("copy", "story")}
            yield from self._speeds(runs)
            yield self._acceptance(engine)
        yield self._memory()

    def rules(self) -> Iterator[RuleRow]:
        """Both accept rules, sampled."""
        rules: tuple[AcceptRule, ...] = ("coupled", "rejection")
        with ExitStack() as stack:
            engines = {rule: stack.enter_context(self.load(self.draft, rule)) for rule in rules}
            for engine in engines.values():
                warm_up(engine, self.prompts[0], "auto")
            for temperature in _TEMPERATURES:
                runs = interleaved([
                    {r: self._ours(e, p, temperature=temperature, seed=i) for r, e in engines.items()}
                    for i, p in enumerate(self.prompts) if p.category in ("story", "copy", "chat")
                ], self.repeats)  # fmt: skip
                for rule in rules:
                    stats = SpecStats.of_all(s.stats for s in all_samples(runs, rule))
                    yield RuleRow(
                        rule,
                        temperature,
                        speed(runs, rule),
                        stats.acceptance_length,
                        stats.acceptance_per_position,
                    )

    @property
    def _draft_name(self) -> str:
        if self.draft in ("none", "lookup") or (self.draft == "auto" and self.target != "bundled"):
            raise InvalidRequest("draft", self.draft, "a draft model, by folder or hub id, to measure peers with")
        return "bundled" if self.draft == "auto" else self.draft

    def _of(self, category: str) -> list[BenchPrompt]:
        return [p for p in self.prompts if p.category == category]

    def _ours(self, engine: Engine, prompt: BenchPrompt, **options: object) -> System:
        return ours(engine, request(engine, prompt, self.max_tokens, **options))

    def _against_all(self, engine: Engine, misled: Engine, peer: Peer, category: str) -> Runs:
        prompts = self._of(category)
        for one in (engine, misled):
            warm_up(one, prompts[0], "off")
            warm_up(one, prompts[0], "auto")
        systems = [self._systems(engine, misled, peer, p) for p in prompts]
        interleaved([{k: s for k, s in systems[0].items() if k.startswith("transformers")}], 1)
        return interleaved(systems, self.repeats)

    def _systems(self, engine: Engine, misled: Engine, peer: Peer, prompt: BenchPrompt) -> dict[str, System]:
        ids = peer.encode(prompt.content(engine.info.chat_template), prompt.tools)
        return {
            "plain": self._ours(engine, prompt, temperature=0.0, speculative="off"),
            "speculative": self._ours(engine, prompt, temperature=0.0),
            "hostile": self._ours(misled, prompt, temperature=0.0),
            "hostile plain": self._ours(misled, prompt, temperature=0.0, speculative="off"),
            "transformers": peer.answer(ids, self.max_tokens, assisted=False),
            "transformers assisted": peer.answer(ids, self.max_tokens, assisted=True),
        }

    def _speeds(self, by_category: dict[str, Runs]) -> Iterator[Figure]:
        copy, story = by_category["copy"], by_category["story"]
        both = [{name: a[name] + b[name] for name in a} for a, b in zip(copy, story, strict=True)]
        peer, assisted = "transformers", "transformers assisted"
        yield _figure("plain / transformers", both, "plain", peer, 1.5)
        yield _figure("speculative / plain, copy", copy, "speculative", "plain", 1.5)
        yield _figure("speculative / plain, story", story, "speculative", "plain", 1.2)
        yield _figure("speculative / transformers assisted, copy", copy, "speculative", assisted, 2.0)
        yield _figure("speculative / transformers assisted, story", story, "speculative", assisted, 2.0)
        # on stories alone: on copies lookup would make up for what the hostile draft costs
        yield _figure("hostile draft under auto / plain, story", story, "hostile", "hostile plain", 0.97)
        yield _identical(both)

    def _acceptance(self, engine: Engine) -> Figure:
        samples = [self._ours(engine, p, temperature=0.0, speculative=_FORCED_K)() for p in self.prompts]
        rates = SpecStats.of_all(s.stats for s in samples).acceptance_per_position
        shown = " ".join(f"{r:.2f}" for r in rates)
        return Figure("acceptance at the first position, T=0", rates[0] if rates else 0.0, 0.75,
                      detail=f"k={_FORCED_K}, per position {shown}")  # fmt: skip

    def _memory(self) -> Figure:
        plain, drafted = (memory.measure(self.target, *run) for run in (("none", "off"), (self.draft, "auto")))
        own = drafted.weights - plain.weights + drafted.cache - plain.cache
        allowed = (plain.peak + own) * (1 + _ROOM)
        mib = 2**20
        return Figure("peak memory / (plain + draft) ", drafted.peak / (plain.peak + own), 1 + _ROOM, at_most=True,
                      detail=f"{drafted.peak / mib:.0f} MiB, plain {plain.peak / mib:.0f}, draft {own / mib:.0f}, "
                             f"allowed {allowed / mib:.0f}")  # fmt: skip


def _figure(name: str, runs: Runs, fast: str, slow: str, target: float) -> Figure:
    detail = f"{speed(runs, fast):.0f} and {speed(runs, slow):.0f} tok/s"
    return Figure(name, ratio(runs, fast, slow), target, detail=detail)


def _identical(runs: Runs) -> Figure:
    """How many greedy answers are the same tokens as transformers' own."""
    reference = all_samples(runs, "transformers")
    shares = [
        sum(a.token_ids == b.token_ids for a, b in zip(all_samples(runs, name), reference, strict=True))
        / len(reference)
        for name in ("plain", "speculative", "hostile")
    ]
    return Figure("greedy answers equal to transformers'", min(shares), 1.0, detail=f"{len(reference)} answers each")
