"""Times a few passes at load, and tries drafters on a short text, so that the first round is already planned from
measurements."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count

import torch
from torch import Tensor

from specdec.decoding.speculation.chunks import ChunkCosts
from specdec.decoding.speculation.controller import Controller
from specdec.drafters.base import DraftContext, Drafter, DraftRound, Seen
from specdec.models.base import Batch, Model
from specdec.sampling.batch import SamplingBatch
from specdec.sampling.state import SamplerState
from specdec.types import MAX_SPECULATIVE_TOKENS, SamplingParams

_REPEATS = 4
_WIDTHS = (1, 2, 3, 4, 5, 7, 9, 13, MAX_SPECULATIVE_TOKENS + 1)
_STEPS = (1, 2, 4, 8)
_GRAPH_WIDTHS, _GRAPH_STEPS = (1, 6, 16), (1, 4)
"""Where passes are graphs: up to 16 rows cost much the same, and each width takes time to capture."""
_PROMPT = 16
_CHUNKS, _CHUNKS_ON_CPU = (256, 512, 1024, 2048), (64,)
"""Tokens that are read at once. On a CPU the target's are guessed: there a chunk costs what its tokens do."""
_WRITTEN, _DRAFTED = 22, 4


@torch.inference_mode()
def calibrate(target: Model, drafters: Sequence[Drafter], controller: Controller) -> None:
    """Fill the controller's cost curves, as far as nothing is known yet. What this leaves in slot 0 is never read."""
    info = target.info

    def run(width: int, keep: int | None = None) -> None:
        tokens = torch.zeros(1, width, dtype=torch.long, device=info.device)
        target.run(Batch(tokens, [0], [0], width if keep is None else keep))

    if not controller.verify_cost:
        _fill(controller.verify_cost.observe, _GRAPH_WIDTHS if info.captured else _WIDTHS, run, info.device)
    for drafter in drafters:
        if not drafter.free:
            if not (curve := controller.draft_costs[drafter.name]):
                context = DraftContext(-1, 0, [0] * _PROMPT, _PROMPT)
                draft = partial(drafter.propose, _greedy(context, target))
                _fill(curve.observe, _GRAPH_STEPS if info.captured else _STEPS, draft, info.device)
                drafter.release(context)
            _time_reading(drafter, target, controller.read_costs[drafter.name])
    if info.device.type == "cuda":
        sizes = [size for size in _CHUNKS if size <= info.context]
        _fill(controller.chunk_costs.observe_first, sizes, partial(run, keep=0), info.device, repeats=2)
    target.state.leave(0)


@torch.inference_mode()
def try_out(target: Model, drafters: Sequence[Drafter], controller: Controller, prompt: Sequence[int]) -> None:
    """Let those that cost something draft what the target says after `prompt`: what is accepted there is where the
    controller starts from. It is also where heads first run, which takes long once."""
    drafters, info = [d for d in drafters if not d.free], target.info
    if not drafters or len(prompt) + _WRITTEN > info.context or max(prompt) >= info.vocab_size:
        return
    tokens, asked = list(prompt), len(prompt)
    features = _continue(target, tokens, next((d.features for d in drafters if d.features), ()))
    for drafter in drafters:
        context, seen = DraftContext(-1, 0, tokens[:asked], asked), 0
        for end in range(asked + 1, len(tokens) - _DRAFTED, 2):
            context.tokens.extend(tokens[len(context.tokens) : end])
            told = None if features is None else features[seen : end - 1]
            drafter.observe(Seen(context, seen, end - 1 - seen, told))
            drafts, right = drafter.propose(_greedy(context, target), _DRAFTED), tokens[end:]
            drafted = drafts.lengths[0]
            accepted = next((i for i in range(drafted) if int(drafts.tokens[0, i]) != right[i]), drafted)
            controller.acceptance.observe(drafts.sources[0], drafted, accepted)
            seen = end - 1
        drafter.release(context)


def _continue(target: Model, tokens: list[int], features: tuple[int, ...]) -> Tensor | None:
    """Append what the target says after `tokens`, greedily; returns its features [W, n * H] of all but the last."""
    end, state = len(tokens) + _WRITTEN, target.state
    start, found = state.begin(0, tokens), list[Tensor]()
    while len(tokens) < end:
        given = torch.tensor([tokens[start:]], device=target.info.device)
        told = target.run(Batch(given, [0], [start], 1, features))
        found += [] if told.features is None else [told.features[0].clone()]
        start = len(tokens)
        state.commit(0, start)
        tokens.append(int(told.logits[0, -1].argmax()))
    state.commit(0, 0)
    state.leave(0)
    return torch.cat(found) if found else None


def _time_reading(drafter: Drafter, target: Model, costs: ChunkCosts) -> None:
    """How long it takes the drafter to read a prompt, if it reads any."""
    on_cpu = target.info.device.type == "cpu"
    fresh = count()

    def read(size: int) -> None:
        tokens = [next(fresh) % target.info.vocab_size] * (size + 2)  # one is left, so that none is kept
        context = DraftContext(-1, 0, tokens, len(tokens))
        if (drafter.behind(context) or 0) >= size:
            drafter.read(context, size)

    sizes = [size for size in (_CHUNKS_ON_CPU if on_cpu else _CHUNKS) if size < target.info.context]
    _fill(costs.observe_first, sizes, read, target.info.device, repeats=2)


def _greedy(context: DraftContext, target: Model) -> DraftRound:
    """A round of one sequence."""
    params, info = SamplingParams(temperature=0.0).with_defaults({}), target.info
    sampling = SamplingBatch([SamplerState(params, 0, [0], frozenset(), info.vocab_size, info.device)])
    return DraftRound([context], sampling, None, need_probs=False)


def _fill(
    observe: Callable[[int, float], None],
    sizes: Sequence[int],
    run: Callable[[int], object],
    device: torch.device,
    repeats: int = _REPEATS,
) -> None:
    """Each size's fastest of a few runs. They take turns, so that a busy moment of the machine does not fall on all
    runs of one size, and no size counts as dearer than a larger one."""
    fastest = dict.fromkeys(sizes, math.inf)
    for repeat in range(1 + repeats):
        for size in sizes:
            start = time.perf_counter()
            run(size)
            if device.type == "cuda":
                torch.cuda.current_stream(device).synchronize()  # not the device: it may be making a graph
            if repeat:  # the first turn warms up
                fastest[size] = min(fastest[size], time.perf_counter() - start)
    least = math.inf
    for size in sorted(sizes, reverse=True):
        least = min(least, fastest[size])
        observe(size, least)
