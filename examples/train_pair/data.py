"""Packed batches from generator processes that keep a GPU fed.

Contract: `Feed` yields `Batch`es of token rows; a row holds whole documents, each ended by the end-of-text token.
The weight of a token says how much predicting it counts: what the assistant says counts fully, what it is told counts
little, padding not at all.
"""

from __future__ import annotations

import multiprocessing as mp
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import Full
from random import Random
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from torch import Tensor

from .chat import END, END_OF_TEXT, START, document
from .seasoning import Seasoning, load
from .world.mix import stream
from .world.sample import Sample

Ids = npt.NDArray[np.uint16]
Weights = npt.NDArray[np.uint8]
SAID, TOLD = 100, 10


@dataclass(frozen=True)
class Source:
    """Where documents come from."""

    tokenizer: str
    seasoning: str | None
    share: float
    seed: int


@dataclass(frozen=True)
class Batch:
    """Inputs, the tokens that follow them, and what each of those counts."""

    inputs: Tensor
    targets: Tensor
    weights: Tensor


def number(tokenizer: Tokenizer, token: str) -> int:
    """The id of a token that must exist."""
    found = tokenizer.token_to_id(token)
    if found is None:
        raise SystemExit(f"the tokenizer has no {token}")
    return found


class Marks:
    """The tokens that tell who speaks."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.start, self.end, self.stop = (number(tokenizer, t) for t in (START, END, END_OF_TEXT))
        self.assistant = tokenizer.encode("assistant").ids[0]

    def weigh(self, ids: Ids, chat: bool) -> Weights:
        """What predicting each token counts."""
        if not chat:
            return np.full(len(ids), SAID, np.uint8)
        weights = np.full(len(ids), TOLD, np.uint8)
        ends = np.flatnonzero(ids == self.end)
        for start in np.flatnonzero(ids == self.start):
            if ids[start + 1] == self.assistant:
                end = ends[np.searchsorted(ends, start)]
                weights[start + 3 : end + 1] = SAID
        return weights


def documents(source: Source, worker: int) -> Iterator[Sample]:
    """The world with its seasoning, for one worker."""
    rng = Random(source.seed * 1000 + worker)
    real: Seasoning | None = load(Path(source.seasoning)) if source.seasoning else None
    world = stream(source.seed * 1000 + worker, real.passages if real else ())
    # Real records are longer than the world's, so their share of documents is lower than their share of tokens.
    while True:
        yield real.sample(rng) if real and rng.random() < source.share * 0.75 else next(world)


def rows(source: Source, worker: int, length: int) -> Iterator[tuple[Ids, Weights]]:
    """Rows of `length` + 1 tokens, filled with whole documents."""
    tokenizer = Tokenizer.from_file(source.tokenizer)
    marks = Marks(tokenizer)
    supply = documents(source, worker)
    bins: list[tuple[list[Ids], list[Weights], int]] = []
    while True:
        samples = [next(supply) for _ in range(64)]
        for sample, coded in zip(samples, tokenizer.encode_batch([document(s) for s in samples]), strict=True):
            if len(coded.ids) <= length:
                ids = np.array([*coded.ids, marks.stop], np.uint16)
                weights = marks.weigh(ids[:-1], bool(sample.messages))
                weights = np.append(weights, np.uint8(0 if sample.messages else SAID))
                yield from place(bins, ids, weights, length + 1, marks.stop)


def place(bins: list[Any], ids: Ids, weights: Weights, size: int, stop: int) -> Iterator[tuple[Ids, Weights]]:
    """Put a document into the first row with room for it; when there are many open rows, the fullest is done."""
    for index, (parts, counts, used) in enumerate(bins):
        if used + len(ids) <= size:
            bins[index] = ([*parts, ids], [*counts, weights], used + len(ids))
            return
    bins.append(([ids], [weights], len(ids)))
    if len(bins) > 24:
        full = bins.pop(max(range(len(bins)), key=lambda i: bins[i][2]))
        row, count = np.full(size, stop, np.uint16), np.zeros(size, np.uint8)
        row[: full[2]], count[: full[2]] = np.concatenate(full[0]), np.concatenate(full[1])
        yield row, count


def _work(source: Source, worker: int, length: int, count: int, out: Any, done: Any) -> None:
    """A worker process: chunks of rows into the queue until told to stop."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    torch.set_num_threads(1)
    supply = rows(source, worker, length)
    while not done.is_set():
        chunk = [next(supply) for _ in range(count)]
        item = np.stack([r for r, _ in chunk]), np.stack([w for _, w in chunk])
        while not done.is_set():
            try:
                out.put(item, timeout=1)
                break
            except Full:
                continue


class Feed:
    """Batches of `size` rows from worker processes."""

    def __init__(self, source: Source, length: int, size: int, workers: int, device: torch.device) -> None:
        context = mp.get_context("spawn")
        self.queue, self.done, self.device = context.Queue(64), context.Event(), device
        shared = (length, size, self.queue, self.done)
        self.workers = [context.Process(target=_work, args=(source, i, *shared), daemon=True) for i in range(workers)]
        for worker in self.workers:
            worker.start()

    def __iter__(self) -> Iterator[Batch]:
        while True:
            ids, weights = self.queue.get()
            whole = torch.from_numpy(ids.astype(np.int64)).to(self.device, non_blocking=True)
            counts = torch.from_numpy(weights).to(self.device).float() / SAID
            yield Batch(whole[:, :-1].contiguous(), whole[:, 1:].contiguous(), counts[:, 1:].contiguous())

    def close(self) -> None:
        """Stop the workers."""
        self.done.set()
        for worker in self.workers:
            worker.terminate()


def held_out(source: Source, length: int, kinds: int, device: torch.device) -> list[tuple[str, Batch]]:
    """A few fixed documents per kind, one a row, from a seed that training never uses."""
    tokenizer = Tokenizer.from_file(source.tokenizer)
    marks = Marks(tokenizer)
    found: dict[str, list[tuple[Ids, Weights]]] = {}
    for sample, _ in zip(documents(source, 0), range(kinds * 40), strict=False):
        group = found.setdefault(sample.kind, [])
        ids = np.array(tokenizer.encode(document(sample)).ids, np.uint16)
        if len(group) < kinds and len(ids) <= length:
            group.append((ids, marks.weigh(ids, bool(sample.messages))))
    return [(kind, _batch(group, length, marks.stop, device)) for kind, group in sorted(found.items())]


def _batch(group: list[tuple[Ids, Weights]], length: int, stop: int, device: torch.device) -> Batch:
    ids, weights = (
        np.full((len(group), length + 1), stop, np.int64),
        np.zeros((len(group), length + 1), np.float32),
    )
    for row, (one, count) in enumerate(group):
        ids[row, : len(one)], weights[row, : len(one)] = one, count == SAID
    whole, counts = torch.from_numpy(ids).to(device), torch.from_numpy(weights).to(device)
    return Batch(whole[:, :-1].contiguous(), whole[:, 1:].contiguous(), counts[:, 1:].contiguous())
