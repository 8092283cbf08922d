"""One training from its options to its result."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice
from math import ceil, inf

import torch

from specdec.bench.prompts import BenchPrompt
from specdec.decoding.assembly import assemble, folder_of
from specdec.decoding.engine import LocalEngine
from specdec.drafters.base import LoadedDrafter
from specdec.drafters.heads import config as heads
from specdec.drafters.heads.dflash import BlockHead
from specdec.drafters.heads.eagle3 import EagleHead
from specdec.drafters.heads.loading import load_head
from specdec.drafters.heads.parts import HeadParts
from specdec.drafters.model import DraftModelDrafter
from specdec.errors import InvalidRequest, UnsupportedModel
from specdec.gguf import is_gguf
from specdec.models import memory
from specdec.models.base import Model
from specdec.models.generation_config import generation_defaults
from specdec.models.loading import load_model, pick_device, pick_dtype
from specdec.models.weights.sources import fingerprint, read_config
from specdec.text.tokenizer import Tokenizer
from specdec.text.tools.formats import AnswerFormat
from specdec.threads.count import fixed
from specdec.training import published, shipped, workspace
from specdec.training.answering import AnswerTask, answer_all
from specdec.training.answers import Answered, AnswerFile
from specdec.training.dflash import BlockLearner
from specdec.training.distil import ModelLearner
from specdec.training.eagle3 import EagleLearner
from specdec.training.features import TargetFeatures
from specdec.training.initial import (
    TargetFacts,
    default_layers,
    family_of,
    features_of,
    parameters_of,
    target_facts,
    write_head,
    write_model,
)
from specdec.training.judging import RoundTimes, judge
from specdec.training.learning import Learner
from specdec.training.loop import TrainingLoop
from specdec.training.made_up import CATEGORY, MadeUp, OpenTurn
from specdec.training.memory import MemoryNeeds, MemoryPlan, plan
from specdec.training.options import TrainingOptions
from specdec.training.progress import Report, TrainingProgress, TrainingResult
from specdec.training.prompts import JUDGES, TrainingPrompts, held_out, key_of
from specdec.training.weights import FrozenEnds, LearningTensors, plain_head
from specdec.types import LoadOptions

_ANSWERING = {"cuda": 0.65, "cpu": 0.4}
"""Of the time, for the target's answers: a GPU learns from many times as many as it gives, and by heart what are few. A
training by tokens has them all."""
_HELD_OUT = 0.1
"""Of that, for those to held-out prompts, which come first."""
_PROMPTS = 8000
"""Of those that come with us, at most."""
_TIMES = 4
"""Answers to each prompt of the user's, where there is time. Ours are many of a kind already: prompts that the target
makes up tell more."""
_PROMPT = 16
"""Tokens behind which rounds are timed."""
_SEEN = 16
"""Answers whose features tell a new head how large these are."""
_ANSWER_TOKENS = 64
"""What an answer has at least on average, for how many prompts a training by tokens takes."""


def run(options: TrainingOptions, prompts: Sequence[BenchPrompt], report: Report, *, ours: bool) -> TrainingResult:
    """See `training.train`. `ours`: also the prompts that come with us."""
    with nullcontext() if options.tokens is None else fixed():  # by tokens the same drafter comes of the same seed
        return _Run(options, prompts, report, ours=ours).result()


@dataclass(frozen=True, slots=True)
class _Target:
    """The loaded target."""

    facts: TargetFacts
    model: Model
    tokenizer: Tokenizer
    eos_ids: frozenset[int]


class _Run:
    """The stages of one training, in their order."""

    def __init__(self, options: TrainingOptions, prompts: Sequence[BenchPrompt], report: Report, *, ours: bool) -> None:
        self.options, self._report, self._ours = options, report, ours
        self._given = {key_of(prompt) for prompt in prompts}
        self._times = 1 if ours or options.tokens is not None else _TIMES
        self._parts = TrainingPrompts.of(prompts, self._shipped() if ours else ())
        workspace.check(options)
        report(TrainingProgress("loading"))
        self._device = pick_device(options.device)
        self._answer_seconds = _ANSWERING.get(self._device.type, 0.4) * options.seconds
        self._target, self._plan = self._loaded()
        self._kept = workspace.claim(options, fingerprint(self._target.facts.folder))  # what could be refused was
        self._answers = AnswerFile(self._kept / "answers.jsonl")

    def result(self) -> TrainingResult:
        """All of it."""
        options, out = self.options, self.options.out
        if not (self._kept / "state.pt").exists():
            self._answered()
        answered, known = time.monotonic(), self._answers.known
        judged, own, made_up = self._parted()
        if (self._kept / "state.pt").exists() and not (own and judged):
            asked = "another folder: the training in this one learns from other prompts"
            raise InvalidRequest("out", str(out), f"{asked}; with --from {out} it goes on from that drafter")
        if not own or not judged:
            many = f"more: the target answered {len(known)} prompts in its share of them; it takes two"
            raise InvalidRequest("minutes", options.seconds / 60, many)

        def report(progress: TrainingProgress) -> None:
            self._report(replace(progress, answers=len(own) + len(made_up), made_up=len(made_up)))

        note = f"learning from {len(own)} answers to given prompts and {len(made_up)} to made-up ones"
        report(TrainingProgress("training", note=note))
        # the user's own kind of text is half of all, or more
        mine = [answered for answered in own if answered.key in self._given] if self._ours else own
        others = len(own) - len(mine) + len(made_up)
        learn = mine * (ceil(others / len(mine)) - 1 if mine else 0) + own + made_up
        if not (out / "model.safetensors").exists():  # else it goes on from there, also where it had diverged
            self._begin(learn)
        times = self._round_times(judged[0])
        learner = self._learner()
        room = self._plan.room
        features = TargetFeatures(self._target.model, learner.features, room)
        score = partial(judge, learner, judged, features, times, self._plan.texts)
        loop = TrainingLoop(options, learner, self._plan, score, report, self._stored)
        if not loop.resume():
            loop.state.seconds = loop.state.answering = self._answers.seconds + time.monotonic() - answered
        finished = loop.run(learn, features)
        state = loop.state
        assert state.before is not None and state.best is not None
        return TrainingResult(
            out,
            state.before,
            state.best,
            state.step,
            state.tokens,
            state.seconds,
            not finished,
            len(made_up),
            self._parts.judge,
        )

    def _parted(self) -> tuple[list[Answered], list[Answered], list[Answered]]:
        """The answers to judge on, and those to learn from: to prompts that were given, and to made-up ones."""
        known, judge = self._answers.known, [key_of(prompt) for prompt in self._parts.judge]
        asked = [key_of(prompt, again) for again in range(self._times) for prompt in self._parts.learn]
        given = {*asked, *judge}
        made_up = [key for key, one in known.items() if one.category == CATEGORY and key not in given]
        judged_too = list(filter(held_out, made_up)) if self._ours else []
        learnt = [key for key in made_up if key not in set(judged_too)]
        judged, own, others = (
            [known[key] for key in keys if key in known] for keys in ((*judge, *judged_too[:JUDGES]), asked, learnt)
        )
        return judged, own, others

    @property
    def _stored(self) -> torch.dtype:
        """In which precision the drafter is written."""
        return torch.bfloat16 if self._target.model.info.dtype == torch.float32 else self._target.model.info.dtype

    def _shipped(self) -> list[BenchPrompt]:
        tokens = self.options.tokens
        count = _PROMPTS if tokens is None else min(_PROMPTS, max(64, tokens // _ANSWER_TOKENS))
        return list(islice(shipped.prompts(self.options.seed), count))

    def _loaded(self) -> tuple[_Target, MemoryPlan]:
        """The target, with as many slots as there is memory for."""
        options = self.options
        path = folder_of(options.target, "target")
        workspace.check(options, fingerprint(path))
        tokenizer = Tokenizer.load(path)
        defaults_eos = generation_defaults(path)[1]
        eos = frozenset(defaults_eos or tokenizer.eos_ids)
        facts = target_facts(options.target, path, tokenizer.vocab_size, min(eos, default=0))
        if options.start is not None:
            published.check(options.start, options.kind, facts, tokenizer)
        config = read_config(path)
        # llama.cpp, which a GGUF file on a CPU would run through, shows no hidden states
        dtype = "float32" if is_gguf(path) and self._device.type == "cpu" and options.dtype == "auto" else options.dtype
        precision = pick_dtype(dtype, self._device, path, config)
        passes = options.drafts + 1 if options.kind == "eagle3" else 1
        parameters = partial(self._parameters, facts)
        tables = 0 if options.kind != "model" else 1 if facts.config.tie_word_embeddings else 2
        needs = MemoryNeeds(facts, parameters, passes, options.length, self._device, precision, tables)
        wanted = options.layers or default_layers(options.kind, facts.layers)
        if options.kind == "model" and wanted > facts.layers:
            raise InvalidRequest("layers", wanted, f"at most {facts.layers}, as many as {options.target} has")
        given = options.layers is not None or options.start is not None or options.kind == "model"
        planned = plan(needs, wanted, memory.free_bytes(self._device), fixed=given)
        if options.tokens is not None and self._device.type == "cpu":
            planned = replace(planned, slots=1)  # a row's sums depend on which rows go with it, and so on the clock
        self._report(TrainingProgress("loading", note=f"memory: {planned}"))
        model = load_model(
            path,
            name=options.target,
            device=self._device,
            dtype=dtype,
            context=min(options.length, facts.config.max_position_embeddings),
            slots=planned.slots,
        )
        if model.ends is None and options.kind != "model":
            raise UnsupportedModel(
                f"{options.target} does not show the hidden states that a head reads ({model.info.backend}); expected "
                "kind model, or a target on one device whose embedding and head transformers knows"
            )
        return _Target(facts, model, tokenizer, eos), planned

    def _parameters(self, facts: TargetFacts, layers: int) -> int:
        """Of the drafter."""
        if self.options.start is not None:
            folder = published.folder_of(self.options.start)
            files = [file for file in folder.iterdir() if file.suffix in (".safetensors", ".bin")]
            return sum(file.stat().st_size for file in files) // 2  # of 16 bits; in 32 they are fewer
        return parameters_of(facts, self.options, layers)

    def _answered(self) -> None:
        """Have the target answer, from when it is ready to for its share of the time: all continuations together."""
        options, target = self.options, self._target
        total = len(self._parts.learn) + len(self._parts.judge)
        defaults = generation_defaults(target.facts.folder)[0]
        with self._engine() as engine:
            now, draws = time.monotonic(), defaults.get("temperature") != 0
            begun = now - self._answers.seconds
            ends = now + _HELD_OUT * self._answer_seconds, begun + self._answer_seconds
            for part, greedy, until in zip((self._parts.judge, self._parts.learn), (True, False), ends, strict=True):
                more = options.tokens is None and not greedy
                times = self._times if more and draws else 1
                task = AnswerTask(greedy, options.answer, target.model.info.context, options.seed, times)
                go_on = partial(self._go_on, begun, until, total)
                made_up = self._made_up() if more else None
                if left_out := answer_all(engine, part, self._answers, task, go_on, made_up):
                    note = f"{len(left_out)} prompts left out: {left_out[0]}" + ("; ..." if left_out[1:] else "")
                    self._report(TrainingProgress("answers", note=note))

    def _engine(self, drafter: LoadedDrafter | None = None, *, alone: bool = False) -> LocalEngine:
        """Over the target (see `assemble`)."""
        target = self._target
        slots = target.model.info.slots
        loading = LoadOptions(self.options.target, "none", slots=slots, prefix_cache_bytes=0, remember=0)
        return assemble(
            loading,
            target.model,
            drafter,
            target.tokenizer,
            eos_ids=target.eos_ids,
            answer_format=AnswerFormat.of(loading.tool_format, target.tokenizer.template, target.tokenizer.added),
            defaults=generation_defaults(target.facts.folder)[0],
            alone=alone,
        )

    def _round_times(self, answered: Answered) -> RoundTimes:
        """Of the drafter as it is, on some answer."""
        drafter = self._drafter()
        with self._engine(drafter, alone=True) as engine:
            # a block has its own length; other drafters may go on for longer than they are judged
            longest = drafter.longest if self.options.kind == "dflash" else min(drafter.longest, self.options.drafts)
            return RoundTimes.measured(engine, longest, answered.tokens[:_PROMPT])

    def _made_up(self) -> MadeUp | None:
        """Other ones each time that a training goes on; None where there is no room for words."""
        target, count = self._target, len(self._answers.known)
        turn = OpenTurn.of(target.tokenizer, target.eos_ids)
        if turn is None or len(turn.tokens) > target.model.info.context // 2:
            return None
        given = (*self._parts.learn, *self._parts.judge)
        return MadeUp(turn, target.tokenizer, given, f"{self.options.seed}/{count}", by_turns=self._ours)

    def _go_on(self, begun: float, until: float, total: int) -> bool:
        """Tell how many answers there are, and whether there is time for more."""
        now, count, seconds = time.monotonic(), len(self._answers.known), self.options.seconds
        done = count / total
        left = (now - begun) / done * (1 - done) if done else None  # of the answers: they take most of it
        self._answers.seconds = now - begun
        if seconds < inf:
            done, left = (now - begun) / max(self._answer_seconds, 1e-9), max(seconds - (now - begun), 0.0)
        made_up = self._answers.by_category[CATEGORY]
        self._report(TrainingProgress("answers", min(done, 1.0), left, answers=count, made_up=made_up))
        return now < until

    def _begin(self, learn: Sequence[Answered]) -> None:
        """Write what the training begins with."""
        options, facts, layers = self.options, self._target.facts, self._plan.layers
        if options.start is not None:
            published.write_started(options.out, options.start, facts)
        elif options.kind == "model":
            write_model(options.out, facts, layers, self._stored)
        else:
            model, said = self._target.model, list(chain.from_iterable(answered.answer for answered in learn))
            seen = TargetFeatures(model, tuple(features_of(facts, options.kind, layers)), 0).answers(learn[:_SEEN])
            write_head(options.out, facts, options, layers, said, plain_head(model), seen)

    def _learner(self) -> Learner:
        """The drafter in `out`, so that it can learn."""
        options, model = self.options, self._target.model
        tensors = LearningTensors(options.out, model.info.device)
        ends = None if model.ends is None else FrozenEnds(model)
        try:
            if options.kind == "model":
                family = family_of(read_config(options.out), str(options.out))
                return ModelLearner(family, tensors, ends, options.length, options.drafts)
            assert ends is not None
            config = heads.read(options.out, ends.layers)
            parts = HeadParts.read(config, tensors, ends, model.info)
            if options.kind == "dflash":
                return BlockLearner(BlockHead(parts), tensors, ends, options.length)
            return EagleLearner(EagleHead(parts), tensors, ends, options.length, options.drafts)
        finally:
            tensors.close()

    def _drafter(self) -> LoadedDrafter:
        """The same as it drafts, to be timed."""
        options, target = self.options, self._target.model
        if options.kind != "model":
            return load_head(options.out, target, str(options.out))
        info = target.info
        draft = load_model(options.out, device=info.device, dtype=info.dtype, context=info.context, slots=info.slots)
        return DraftModelDrafter.over(draft, target)
