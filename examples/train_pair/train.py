"""Train the target on the world and its seasoning, for a given time.

Contract: stops by the clock, not by a count of steps; the learning rate's schedule is tied to the same clock, so it is
always complete. Writes `weights.pt` (float32 state dict) and `log.txt` into the output folder, also when interrupted.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor

from specdec.training.optimiser import Optimiser

from .chat import END_OF_TEXT
from .data import Batch, Feed, Source, held_out, number
from .model import TARGET, TINY, Llama, Shape, Sight, packed


@dataclass
class Clock:
    """How far a run is, by wall time."""

    seconds: float
    start: float = field(default_factory=time.monotonic)

    def progress(self) -> float:
        """Zero at the start, one at the end."""
        return (time.monotonic() - self.start) / self.seconds


def rate(progress: float, flat: float = 0.5, warm: float = 0.01) -> float:
    """The schedule: a short rise, a flat stretch, and a straight fall to zero."""
    if progress < warm:
        return max(progress / warm, 0.02)
    return 1.0 if progress < flat else max(0.0, (1 - progress) / (1 - flat))


def token_losses(model: Llama, batch: Batch, sight: Sight) -> Tensor:
    """Cross-entropy of every token."""
    logits = model.logits(model(batch.inputs, sight)).float()
    return F.cross_entropy(logits.flatten(0, 1), batch.targets.flatten(), reduction="none").view_as(batch.targets)


def mean_loss(model: Llama, batch: Batch, sight: Sight) -> Tensor:
    """The weighted mean over a batch."""
    return (token_losses(model, batch, sight) * batch.weights).sum() / batch.weights.sum()


@torch.no_grad()
def judged(model: Llama, held: list[tuple[str, Batch]]) -> dict[str, float]:
    """Held-out loss per kind, over what the assistant says."""
    return {kind: float(mean_loss(model, batch, _dense(batch))) for kind, batch in held}


def _dense(batch: Batch) -> Tensor:
    """A held-out row holds one document from its start, so plain causal sight is right."""
    length = batch.inputs.shape[1]
    return torch.ones(1, 1, length, length, dtype=torch.bool, device=batch.inputs.device).tril()


def say(log: TextIO, text: str) -> None:
    """One line to the screen and to the log."""
    print(text, flush=True)
    print(text, file=log, flush=True)


def fit(model: Llama, feed: Feed, clock: Clock, end: int, log: TextIO, scale: float) -> None:
    """Steps until the clock says stop."""
    named = dict(model.named_parameters())
    inner = {name for name, weight in named.items() if weight.dim() == 2 and "embed" not in name}
    matrices = [(named[name], (len(named[name]),)) for name in named if name in inner]
    optimiser = Optimiser(matrices, [named[name] for name in named if name not in inner], 0.02 * scale, 0.003 * scale)
    compiled = torch.compile(mean_loss, dynamic=False) if feed.device.type == "cuda" else mean_loss
    tokens, total, steps, began = 0, torch.zeros((), device=feed.device), 0, time.monotonic()
    for batch in feed:
        progress = clock.progress()
        if progress >= 1:
            break
        loss = compiled(model, batch, packed(batch.inputs, end))
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step(rate(progress))
        total, steps, tokens = total + loss.detach(), steps + 1, tokens + batch.inputs.numel()
        if steps == 1:
            began, tokens = time.monotonic(), 0
        if steps % 200 == 0 or steps in (1, 20):
            mean, speed = total.item() / min(steps, 200), tokens / (time.monotonic() - began + 1e-9) / 1e6
            state = f"progress {progress:.3f} loss {mean:.4f} tokens {tokens / 1e6:.1f}M ({speed:.2f}M/s)"
            say(log, f"step {steps} {state} queue {feed.queue.qsize()}")
            total = torch.zeros_like(total) if steps % 200 == 0 else total


def stored(weights: Path) -> dict[str, Tensor]:
    """A state dict from `weights.pt`, or from the safetensors of a packaged folder."""
    if weights.is_file():
        state: dict[str, Tensor] = torch.load(weights, map_location="cpu", weights_only=True)
        return state
    return {name: value for part in sorted(weights.glob("*.safetensors")) for name, value in load_file(part).items()}


def build(shape: Shape, weights: Path | None, device: torch.device) -> Llama:
    """A model, new or from a file, in the precision that its device likes."""
    model = Llama(shape)
    if weights:
        model.load_state_dict(stored(weights), strict=True)
    model.compute = torch.bfloat16 if device.type == "cuda" else torch.float32
    return model.to(device)


def unseen(source: Source, valid: Path | None) -> Source:
    """A source of text that training never saw."""
    return Source(source.tokenizer, str(valid) if valid else None, source.share, 9_999)


def options(about: str | None) -> argparse.ArgumentParser:
    """What can be asked for."""
    args = argparse.ArgumentParser(description=about)
    args.add_argument("--tokenizer", type=Path, required=True, help="folder with tokenizer.json")
    args.add_argument("--seasoning", type=Path, help="train.jsonl.xz of real text")
    args.add_argument("--valid", type=Path, help="valid.jsonl.xz of real text, for the held-out loss")
    args.add_argument("--share", type=float, default=0.22, help="share of real text, in tokens")
    args.add_argument("--out", type=Path, required=True)
    args.add_argument("--minutes", type=float, required=True)
    args.add_argument("--length", type=int, default=2048, help="tokens in a row")
    args.add_argument("--rows", type=int, default=32, help="rows in a batch")
    args.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 2) - 1))
    args.add_argument("--seed", type=int, default=1)
    args.add_argument("--tiny", action="store_true", help="a toy size, to try the code out on a CPU")
    return args


def main() -> None:
    """Train a target model."""
    args = options(main.__doc__)
    args.add_argument("--resume", type=Path, help="weights.pt or packaged folder to go on from")
    args.add_argument("--rate", type=float, default=1.0, help="factor on the learning rates")
    given = args.parse_args()
    clock = Clock(given.minutes * 60)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.set_float32_matmul_precision("high")
    torch.manual_seed(given.seed)
    file = str(given.tokenizer / "tokenizer.json")
    end = number(Tokenizer.from_file(file), END_OF_TEXT)
    source = Source(file, str(given.seasoning) if given.seasoning else None, given.share, given.seed)
    feed = Feed(source, given.length, given.rows, given.workers, device)
    model = build(TINY if given.tiny else TARGET, given.resume, device)
    given.out.mkdir(parents=True, exist_ok=True)
    with (given.out / "log.txt").open("a") as log:
        say(log, f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f}M parameters on {device}")
        try:
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                fit(model, feed, clock, end, log, given.rate)
        finally:
            feed.close()
            torch.save({k: v.float().cpu() for k, v in model.state_dict().items()}, given.out / "weights.pt")
        _report(model, unseen(source, given.valid), device, log)


def _report(model: Llama, source: Source, device: torch.device, log: TextIO) -> None:
    """Held-out loss, in training precision and with the weights rounded as they will ship."""
    held = held_out(source, 1024, 24, device)
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        full = judged(model, held)
        for weight in model.parameters():
            weight.data = weight.data.bfloat16().float()
        rounded = judged(model, held)
    for kind, loss in full.items():
        say(log, f"held out {kind}: {loss:.4f} (rounded to bfloat16 {rounded[kind]:.4f})")


if __name__ == "__main__":
    main()
