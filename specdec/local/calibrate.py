"""Times a few passes at load, so that the first round is already planned from measurements."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import torch

from specdec.drafters.base import DraftContext, Drafter, DraftRound
from specdec.local.controller import Controller
from specdec.local.costs import CostCurve
from specdec.runners.base import Runner
from specdec.sampling.batch import SamplingBatch
from specdec.sampling.state import SamplerState
from specdec.types import MAX_SPECULATIVE_TOKENS, SamplingParams

_REPEATS = 4
_WIDTHS = (1, 2, 3, 4, 5, 7, 9, 13, MAX_SPECULATIVE_TOKENS + 1)
_STEPS = (1, 2, 4, 8)
_PROMPT = 16


@torch.inference_mode()
def calibrate(target: Runner, drafters: Sequence[Drafter], controller: Controller) -> None:
    """Fill the controller's cost curves. What this leaves in slot 0 is never read."""
    if target.info.can_rollback:
        _time_target(target, controller.verify_cost)
    for drafter in drafters:
        if not drafter.free:
            controller.draft_costs[drafter.name] = _time_drafter(drafter, target)


def _time_target(target: Runner, curve: CostCurve) -> None:
    for width in _WIDTHS:
        tokens = torch.zeros(1, width, dtype=torch.long, device=target.info.device)
        curve.observe(
            width, _fastest(lambda t=tokens, w=width: target.forward(t, [0], [0], w), target.info.device)
        )  # type: ignore[misc]


def _time_drafter(drafter: Drafter, target: Runner) -> CostCurve:
    info, curve = target.info, CostCurve()
    params = SamplingParams(temperature=0.0).with_defaults({})
    sampling = SamplingBatch([SamplerState(params, 0, [0], frozenset(), info.vocab_size, info.device)])
    context = DraftContext(-1, 0, [0] * _PROMPT, _PROMPT)
    asked = DraftRound([context], sampling, None, need_probs=False)
    for steps in _STEPS:
        curve.observe(steps, _fastest(lambda k=steps: drafter.propose(asked, k), info.device))  # type: ignore[misc]
    drafter.release(context)
    return curve


def _fastest(run: Callable[[], object], device: torch.device) -> float:
    """Seconds of the fastest of a few runs, after one that warms up."""
    run()
    times = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - start)
    return min(times)
