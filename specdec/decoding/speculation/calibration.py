"""Times a few passes at load, so that the first round is already planned from measurements."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

import torch

from specdec.decoding.speculation.controller import Controller
from specdec.decoding.speculation.costs import CostCurve
from specdec.drafters.base import DraftContext, Drafter, DraftRound
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


@torch.inference_mode()
def calibrate(target: Model, drafters: Sequence[Drafter], controller: Controller) -> None:
    """Fill the controller's cost curves. What this leaves in slot 0 is never read."""

    def run(width: int) -> None:
        tokens = torch.zeros(1, width, dtype=torch.long, device=target.info.device)
        target.run(Batch(tokens, [0], [0], width))

    widths = _GRAPH_WIDTHS if target.info.captured else _WIDTHS
    _fill(controller.verify_cost, widths, run, target.info.device)
    for drafter in drafters:
        if not drafter.free:
            controller.draft_costs[drafter.name] = _time_drafter(drafter, target)


def _time_drafter(drafter: Drafter, target: Model) -> CostCurve:
    info, curve = target.info, CostCurve()
    params = SamplingParams(temperature=0.0).with_defaults({})
    sampling = SamplingBatch([SamplerState(params, 0, [0], frozenset(), info.vocab_size, info.device)])
    context = DraftContext(-1, 0, [0] * _PROMPT, _PROMPT)
    asked = DraftRound([context], sampling, None, need_probs=False)
    steps = _GRAPH_STEPS if info.captured else _STEPS
    _fill(curve, steps, lambda steps: drafter.propose(asked, steps), info.device)
    drafter.release(context)
    return curve


def _fill(curve: CostCurve, sizes: Sequence[int], run: Callable[[int], object], device: torch.device) -> None:
    """Each size's fastest of a few runs. They take turns, so that a busy moment of the machine does not fall on all
    runs of one size, and no size counts as dearer than a larger one."""
    fastest = dict.fromkeys(sizes, math.inf)
    for repeat in range(1 + _REPEATS):
        for size in sizes:
            start = time.perf_counter()
            run(size)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            if repeat:  # the first turn warms up
                fastest[size] = min(fastest[size], time.perf_counter() - start)
    least = math.inf
    for size in sorted(sizes, reverse=True):
        least = min(least, fastest[size])
        curve.observe(size, least)
