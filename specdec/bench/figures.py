"""The figures that SpecDec promises, measured side by side in one run: ratios, so that any machine will do.

Each engine has a process of its own, and transformers this one, so that none shares its threads' cores with helpers
of another that wait.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from specdec.bench import memory
from specdec.bench.checkpoints import hostile_draft
from specdec.bench.peers import Peer
from specdec.bench.prompts import BenchPrompt
from specdec.bench.systems import make_request, ours, warm_up
from specdec.bench.timing import Runs, System, Watch, all_answers, counted, interleaved, ratio, speed
from specdec.engine import Engine, Progress
from specdec.errors import InvalidRequest
from specdec.types import AcceptRule, LoadOptions, SpecStats

_ROOM = 0.10
"""Of the memory that plain, the draft's weights and its cache add up to."""
_FORCED_K = 4
_SYSTEMS = 6
"""Ours in four ways, transformers in two."""
_TEMPERATURES = (0.8, 1.0)


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
    acceptance_length: float | None
    acceptance_per_position: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Bench:
    """What is measured, and how often."""

    loading: LoadOptions
    """Of an engine with one slot."""
    load: Callable[[LoadOptions], Engine]
    """Into a process of its own."""
    prompts: Sequence[BenchPrompt]
    max_tokens: int
    repeats: int
    progress: Progress

    def figures(self) -> Iterator[Figure]:
        """Every promised figure, as soon as it is known."""
        from specdec.decoding.assembly import folder_of

        name = self.loading.draft
        if name in ("none", "lookup") or (name == "auto" and self.loading.target != "bundled"):
            raise InvalidRequest("draft", name, "a draft model, by folder or hub id, to measure peers with")
        target = folder_of(self.loading.target, "target")
        draft = folder_of("bundled" if name == "auto" else name, "draft")
        with ExitStack() as stack:
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            hostile = str(hostile_draft(draft, scratch / "hostile"))
            engine, misled = (
                stack.enter_context(self.load(replace(self.loading, draft=d, accept_rule="coupled")))
                for d in (name, hostile)
            )
            peer = Peer(target, draft, engine.info.device, engine.info.dtype)
            chosen = {c: [p for p in self.prompts if p.category == c] for c in ("copy", "story")}
            watch = counted(self.progress, _SYSTEMS * self.repeats * sum(map(len, chosen.values())))
            runs = {c: self._against_all(engine, misled, peer, c, chosen[c], watch) for c in chosen}
            yield from self._speeds(runs["copy"], runs["story"])
            self.progress(f"{_FORCED_K} drafts a round", 0.0)
            answers = [self._ours(engine, p, temperature=0.0, speculative=_FORCED_K)() for p in self.prompts]
        rates = SpecStats.of_all(a.stats for a in answers).acceptance_per_position
        detail = f"k={_FORCED_K}, per position {' '.join(f'{r:.2f}' for r in rates)}"
        yield Figure("acceptance at the first position, T=0", rates[0] if rates else 0.0, 0.75, detail=detail)
        self.progress("memory", 0.0)
        yield self._memory()

    def rules(self) -> Iterator[RuleRow]:
        """Both accept rules, sampled."""
        rules: tuple[AcceptRule, ...] = ("coupled", "rejection")
        with ExitStack() as stack:
            engines = {r: stack.enter_context(self.load(replace(self.loading, accept_rule=r))) for r in rules}
            for engine in engines.values():
                warm_up(engine, self.prompts[0], "auto")
            chosen = [(i, p) for i, p in enumerate(self.prompts) if p.category in ("story", "copy", "chat")]
            watch = counted(self.progress, len(rules) * len(_TEMPERATURES) * self.repeats * len(chosen))
            for temperature in _TEMPERATURES:
                systems: list[dict[str, System]] = [
                    {rule: self._ours(e, p, temperature=temperature, seed=i) for rule, e in engines.items()}
                    for i, p in chosen
                ]
                runs = interleaved(systems, self.repeats, f"accept rules, T={temperature:g}", watch)
                for rule in rules:
                    stats = SpecStats.of_all(a.stats for a in all_answers(runs, rule))
                    length, positions = stats.acceptance_length, stats.acceptance_per_position
                    yield RuleRow(rule, temperature, speed(runs, rule), length, positions)

    def _ours(self, engine: Engine, prompt: BenchPrompt, **options: Any) -> System:
        return ours(engine, make_request(engine, prompt, self.max_tokens, **options))

    def _against_all(
        self, engine: Engine, misled: Engine, peer: Peer, category: str, prompts: Sequence[BenchPrompt], watch: Watch
    ) -> Runs:
        """Everything that is compared, on the prompts of one category."""
        for one in (engine, misled):
            warm_up(one, prompts[0], "off")
            warm_up(one, prompts[0], "auto")
        systems: list[dict[str, System]] = []
        for prompt in prompts:
            ids = peer.encode(prompt.content(engine.info.chat_template), prompt.tools)
            peers = {
                "transformers": peer.answer(ids, self.max_tokens, assisted=False),
                "transformers assisted": peer.answer(ids, self.max_tokens, assisted=True),
            }
            if not systems:
                for first in peers.values():
                    first()  # what happens only then
            own = {
                "plain": self._ours(engine, prompt, temperature=0.0, speculative="off"),
                "speculative": self._ours(engine, prompt, temperature=0.0),
                "hostile": self._ours(misled, prompt, temperature=0.0),
                "hostile plain": self._ours(misled, prompt, temperature=0.0, speculative="off"),
            }
            systems.append(own | peers)
        return interleaved(systems, self.repeats, category, watch)

    def _speeds(self, copy: Runs, story: Runs) -> Iterator[Figure]:
        both = [{name: a[name] + b[name] for name in a} for a, b in zip(copy, story, strict=True)]
        assisted = "transformers assisted"
        for name, runs, fast, slow, target in (
            ("plain / transformers", both, "plain", "transformers", 1.5),
            ("speculative / plain, copy", copy, "speculative", "plain", 1.5),
            ("speculative / plain, story", story, "speculative", "plain", 1.2),
            ("speculative / transformers assisted, copy", copy, "speculative", assisted, 2.0),
            ("speculative / transformers assisted, story", story, "speculative", assisted, 2.0),
            # on stories alone: on copies lookup would make up for what the hostile draft costs
            ("hostile draft under auto / plain, story", story, "hostile", "hostile plain", 0.97),
        ):
            detail = f"{speed(runs, fast):.0f} and {speed(runs, slow):.0f} tokens/s"
            yield Figure(name, ratio(runs, fast, slow), target, detail=detail)
        reference = [a.token_ids for a in all_answers(both, "transformers")]
        shares = []
        for name in ("plain", "speculative", "hostile"):
            answers = all_answers(both, name)
            equal = sum(a.token_ids == ids for a, ids in zip(answers, reference, strict=True))
            shares.append(equal / len(reference))
        detail = f"{len(reference)} answers each"
        yield Figure("greedy answers equal to transformers'", min(shares), 1.0, detail=detail)

    def _memory(self) -> Figure:
        target = self.loading.target
        plain, drafted = memory.measure(target, "none", "off"), memory.measure(target, self.loading.draft, "auto")
        own = drafted.weights - plain.weights + drafted.cache - plain.cache
        bound = 1 + _ROOM
        peaks = (drafted.peak, plain.peak, own, (plain.peak + own) * bound)
        detail = "{:.0f} MiB, plain {:.0f}, draft {:.0f}, allowed {:.0f}".format(*(peak / 2**20 for peak in peaks))
        value = drafted.peak / (plain.peak + own)
        return Figure("peak memory / (plain + draft) ", value, bound, at_most=True, detail=detail)
