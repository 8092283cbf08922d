"""The target's own distribution, written again in plain Python and float64, one token at a time."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import scipy.stats

from specdec.types import SamplingParams

Next = Callable[[Sequence[int]], Sequence[float]]
"""Raw logits after some output tokens."""


def distribution(
    raw: Sequence[float],
    params: SamplingParams,
    prompt: Sequence[int],
    output: Sequence[int],
    stops: Iterable[int],
) -> list[float]:
    """Probabilities of the next token after `output`; params without None and with temperature > 0."""
    logits = [float(x) for x in raw]
    for token, bias in params.logit_bias.items():
        logits[token] += bias
    if len(output) < params.min_tokens:
        for token in stops:
            logits[token] = -math.inf
    _penalise(logits, params, prompt, output)
    assert params.temperature
    logits = [x / params.temperature for x in logits]
    return _filter(logits, params)


def _penalise(logits: list[float], params: SamplingParams, prompt: Sequence[int], output: Sequence[int]) -> None:
    factor = params.repetition_penalty
    assert factor
    for token in {*prompt, *output}:
        logits[token] = logits[token] / factor if logits[token] > 0 else logits[token] * factor
    for token, count in Counter(output).items():
        logits[token] -= params.presence_penalty + params.frequency_penalty * count


def _filter(logits: list[float], params: SamplingParams) -> list[float]:
    assert params.top_k is not None
    assert params.top_p is not None
    assert params.min_p is not None
    order = sorted(range(len(logits)), key=lambda i: (-logits[i], i))
    if params.top_k:
        order = order[: params.top_k]
    weight = {i: math.exp(logits[i] - logits[order[0]]) for i in order}
    total, reached, kept = sum(weight.values()), 0.0, []
    for i in order:
        if reached < params.top_p * total:
            kept.append(i)
        reached += weight[i]
    kept = [i for i in kept if weight[i] >= params.min_p]
    total = sum(weight[i] for i in kept)
    return [weight[i] / total if i in kept else 0.0 for i in range(len(logits))]


def joint(
    raw: Next,
    params: SamplingParams,
    prompt: Sequence[int],
    stops: Iterable[int],
    vocab_size: int,
    length: int,
) -> np.ndarray:
    """Probability of every output of `length` tokens, [vocab_size ** length], the first token most significant."""
    stops = tuple(stops)
    exact = np.ones(1)
    for depth in range(length):
        rows = [
            distribution(raw(output), params, prompt, output, stops)
            for output in itertools.product(range(vocab_size), repeat=depth)
        ]
        exact = (exact[:, None] * np.array(rows)).ravel()
    return exact


def p_value(observed: np.ndarray, exact: np.ndarray) -> float:
    """Chi-square of counts against exact probabilities; cells that expect fewer than 5 are put together.

    A count where the exact probability is 0 gives 0.
    """
    if observed[exact == 0].any():
        return 0.0
    expected = exact * observed.sum()
    rare = expected < 5
    cells = np.append(observed[~rare], observed[rare].sum())
    ideal = np.append(expected[~rare], expected[rare].sum())
    if ideal[-1] < 5:  # too rare even together: join the last full cell
        cells, ideal = np.append(cells[:-2], cells[-2:].sum()), np.append(ideal[:-2], ideal[-2:].sum())
    ideal *= cells.sum() / ideal.sum()
    return float(scipy.stats.chisquare(cells, ideal).pvalue)
