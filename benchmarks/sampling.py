"""What the choice of tokens costs on this GPU, as sampling asks for it, in microseconds.

    python -m benchmarks.sampling

Each step alone in a graph, over rows of random logits; five rows are a round of four drafts. The last line is the same
choice by the functions that other devices use, which sort.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.gpu import median
from specdec.kernels.choose import argmax, gumbel
from specdec.kernels.draw import draw
from specdec.sampling import processors
from specdec.sampling.noise import Stream

ROWS = (1, 5, 17)
_REPEATS = 20


def steps(rows: int, vocab: int, device: torch.device) -> dict[str, Callable[[], object]]:
    """What is timed, by name."""
    logits, seeds = 4 * torch.randn(1, rows, vocab, device=device), torch.zeros(1, dtype=torch.int64, device=device)
    noise = gumbel(seeds, seeds, rows, Stream.TARGET, vocab)
    heat, share, least = (torch.full((1, 1, 1), value, device=device) for value in (0.6, 0.95, -69.0))
    k = torch.full((1, 1, 1), 20, dtype=torch.int64, device=device)
    every = torch.full_like(k, vocab)

    def sorted_out() -> Tensor:
        scores = processors.top_k(processors.temperature(logits, heat), k, 32)
        return argmax(processors.top_p(scores, share).flatten(0, 1), noise.flatten(0, 1))

    return {
        "greedy": lambda: argmax(logits.flatten(0, 1)),
        "noise": lambda: gumbel(seeds, seeds, rows, Stream.TARGET, vocab),
        "temperature": lambda: argmax(logits.flatten(0, 1), noise.flatten(0, 1), heat),
        "temperature, top_p": lambda: draw(logits, noise, heat, every, share, least),
        "temperature, top_k, top_p": lambda: draw(logits, noise, heat, k, share, least),
        "the same with a sort": sorted_out,
    }


def microseconds(step: Callable[[], object], device: torch.device) -> float:
    """Of one step in a graph of many."""
    step()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(_REPEATS):
            step()
    return median(graph.replay, device) / _REPEATS * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--vocab", type=int, default=128256)
    asked = parser.parse_args()
    device = torch.device(asked.device)
    torch.manual_seed(0)
    found = {rows: steps(rows, asked.vocab, device) for rows in ROWS}
    print(f"{torch.cuda.get_device_name(device)}, {asked.vocab} tokens")
    print(f"{'':28s}" + "".join(f"{f'{rows} rows':>10s}" for rows in ROWS))
    for name in found[ROWS[0]]:
        print(f"{name:28s}" + "".join(f"{microseconds(found[rows][name], device):10.1f}" for rows in ROWS))


if __name__ == "__main__":
    main()
