"""Train the draft to say what the target would say.

Contract: the draft learns the target's whole distribution on the same mix and on text that the target wrote itself, on
prompts of the world at temperatures from 0 to 1. What counts is acceptance: at temperature 0 the share of equal best
tokens, above it the sum of min(p, q). Stops by the clock; writes `weights.pt` and `log.txt`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from random import Random
from typing import TextIO

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from .chat import END, render
from .data import SAID, TOLD, Batch, Feed, Ids, Marks, Source, Weights, held_out, place
from .model import DRAFT, TARGET, TINY, Llama, Sight, packed
from .optim import Optimiser
from .sampling import continue_all
from .train import Clock, build, options, rate, say, unseen
from .world.mix import stream


def divergence(draft: Llama, target: Llama, batch: Batch, sight: Sight, edge: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Loss, and the two acceptances: equal best tokens, and the sum of min(p, q).

    Kullback-Leibler teaches fast; the total-variation part, mixed in by `edge`, is acceptance itself.
    """
    with torch.no_grad():
        p = target.logits(target(batch.inputs, sight)).float().log_softmax(-1)
    q = draft.logits(draft(batch.inputs, sight)).float().log_softmax(-1)
    share = batch.weights / batch.weights.sum()
    likely, guessed = p.exp(), q.exp()
    kl = ((likely * (p - q)).sum(-1) * share).sum()
    kept = (torch.minimum(likely, guessed).sum(-1) * share).sum()
    best = ((p.argmax(-1) == q.argmax(-1)) * share).sum()
    return kl + edge * (1 - kept), best, kept


class Written:
    """Documents that the target wrote, packed into rows, and drawn again and again."""

    def __init__(self, source: Source, length: int, rows: int, device: torch.device) -> None:
        self.tokenizer = Tokenizer.from_file(source.tokenizer)
        self.marks, self.length, self.rows, self.device = Marks(self.tokenizer), length, rows, device
        self.world, self.rng = stream(source.seed + 555_000), Random(source.seed)
        self.done: list[tuple[Ids, Weights]] = []

    def _prompts(self, count: int) -> Iterator[list[int]]:
        """Chats of the world up to some assistant turn."""
        for sample in islice((s for s in self.world if s.messages), count * 2):
            ends = [i for i, m in enumerate(sample.messages) if m["role"] == "assistant"]
            text = render(sample.messages[: self.rng.choice(ends)], sample.tools, prompt=True)
            ids: list[int] = self.tokenizer.encode(text).ids
            if len(ids) <= 500:
                yield ids

    def write(self, target: Llama, count: int, room: int) -> int:
        """Let the target answer `count` prompts; returns the tokens written."""
        prompts = list(islice(self._prompts(count), count))
        heat = [self.rng.choice((0.0, 0.0, 0.5, 0.8, 1.0)) for _ in prompts]
        stop = [self.marks.end, self.marks.stop]
        bins: list[tuple[list[Ids], list[Weights], int]] = []
        answers = continue_all(target, prompts, room, heat, stop)
        for prompt, answer in zip(prompts, answers, strict=True):
            ids = np.array([*prompt, *answer, self.marks.stop], np.uint16)[: self.length + 1]
            weights = np.full(len(ids), TOLD, np.uint8)
            weights[len(prompt) : len(prompt) + len(answer)] = SAID
            self.done += place(bins, ids, weights, self.length + 1, self.marks.stop)
        return sum(map(len, answers))

    def batch(self) -> Batch:
        """Rows drawn at random."""
        drawn = [self.rng.choice(self.done) for _ in range(self.rows)]
        ids = torch.from_numpy(np.stack([r for r, _ in drawn]).astype(np.int64)).to(self.device)
        counts = torch.from_numpy(np.stack([c for _, c in drawn])).to(self.device).float() / SAID
        return Batch(ids[:, :-1].contiguous(), ids[:, 1:].contiguous(), counts[:, 1:].contiguous())


def fit(draft: Llama, target: Llama, feed: Feed, written: Written, clock: Clock, log: TextIO, share: float) -> None:
    """Steps until the clock says stop."""
    optimiser = Optimiser(draft, 0.02, 0.004)
    compiled = torch.compile(divergence, dynamic=False) if feed.device.type == "cuda" else divergence
    began, seen = time.monotonic(), torch.zeros(3, device=feed.device)
    for steps, fresh in enumerate(feed, 1):
        progress = clock.progress()
        if progress >= 1:
            break
        batch = written.batch() if written.done and written.rng.random() < share else fresh
        edge = torch.tensor(2.0 * min(1.0, progress * 2), device=feed.device)
        loss, best, kept = compiled(draft, target, batch, packed(batch.inputs, written.marks.stop), edge)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step(rate(progress, flat=0.4))
        seen += torch.stack([loss.detach(), best, kept])
        if steps % 100 == 0:
            loss_, best_, kept_ = (seen / 100).tolist()
            speed = steps * batch.inputs.numel() / (time.monotonic() - began) / 1e6
            state = f"progress {progress:.3f} loss {loss_:.4f} same best {best_:.4f} min(p,q) {kept_:.4f}"
            say(log, f"step {steps} {state} ({speed:.2f}M/s) queue {feed.queue.qsize()}")
            seen.zero_()


def _report(draft: Llama, target: Llama, source: Source, device: torch.device, log: TextIO) -> None:
    """Acceptance on held-out text of each kind."""
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        for kind, batch in held_out(source, 1024, 16, device):
            length = batch.inputs.shape[1]
            sight = torch.ones(1, 1, length, length, dtype=torch.bool, device=device).tril()
            _, best, kept = divergence(draft, target, batch, sight, torch.zeros((), device=device))
            say(log, f"held out {kind}: same best {float(best):.4f}, min(p,q) {float(kept):.4f}")


def main() -> None:
    """Distil a draft from a trained target."""
    args = options(main.__doc__)
    args.add_argument("--target", type=Path, required=True, help="weights.pt or packaged folder of the target")
    args.add_argument("--resume", type=Path, help="weights.pt or packaged folder of a draft to go on from")
    args.add_argument("--written", type=int, default=12, help="rounds of text written by the target")
    args.add_argument("--prompts", type=int, default=1024, help="prompts in a round")
    args.add_argument("--written-share", type=float, default=0.4)
    given = args.parse_args()
    clock = Clock(given.minutes * 60)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_float32_matmul_precision("high")
    torch.manual_seed(given.seed)
    file = str(given.tokenizer / "tokenizer.json")
    source = Source(file, str(given.seasoning) if given.seasoning else None, given.share, given.seed + 77)
    feed = Feed(source, given.length, given.rows, given.workers, device)
    target = build(TINY if given.tiny else TARGET, given.target, device).requires_grad_(False)
    target = target.to(target.compute)  # as it ships, and with no casts while it writes
    draft = build(TINY if given.tiny else DRAFT, given.resume, device)
    given.out.mkdir(parents=True, exist_ok=True)
    written = Written(source, given.length, given.rows, device)
    autocast = torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda")
    with (given.out / "log.txt").open("a") as log, autocast:
        say(log, f"{sum(p.numel() for p in draft.parameters()) / 1e6:.2f}M parameters, stops at {END}")
        for _ in range(given.written):
            count = written.write(target, given.prompts, 16 if given.tiny else 256)
            say(log, f"the target wrote {count} tokens, progress {clock.progress():.3f}")
        try:
            fit(draft, target, feed, written, clock, log, given.written_share)
        finally:
            feed.close()
            torch.save({k: v.float().cpu() for k, v in draft.state_dict().items()}, given.out / "weights.pt")
        _report(draft, target, unseen(source, given.valid), device, log)


if __name__ == "__main__":
    main()
