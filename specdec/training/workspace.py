"""The folder of a training: the drafter, and beside it what is needed to go on."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from specdec.errors import InvalidRequest, TrainingFailed, first_line
from specdec.training.options import TrainingOptions

_KEPT = "training"
_OPTIONS = "options.json"
_WEIGHTS = "weights"
"""Of the target; see `fingerprint`."""


def check(options: TrainingOptions, weights: str | None = None) -> None:
    """Raise InvalidRequest where `out` holds something else, or a training that was asked for otherwise, or of a target
    that had other weights: its answers would not be the target's."""
    out, file = options.out, options.out / _KEPT / _OPTIONS
    if out.exists() and not out.is_dir():
        raise InvalidRequest("out", str(out), "a folder")
    if not file.exists():
        if out.exists() and any(path != file.parent for path in out.rglob("*")):
            raise InvalidRequest("out", str(out), "a folder that is empty, is not there yet, or holds a training")
        return
    try:
        before = dict(json.loads(file.read_text("utf-8")))
    except (TypeError, ValueError):
        raise InvalidRequest("out", str(out), f"a folder whose {_KEPT}/{_OPTIONS} can be read") from None
    changed = {name: before.get(name) for name, value in options.lasting.items() if before.get(name) != value}
    if changed:
        was = ", ".join(f"{name}={value!r}" for name, value in changed.items())
        raise InvalidRequest("out", str(out), f"another folder: the training in this one has {was}")
    if weights is not None and before.get(_WEIGHTS, weights) != weights:
        why = f"{options.target} has other weights than when the training in this one began"
        raise InvalidRequest("out", str(out), f"another folder: {why}; with --from {out} it goes on from that drafter")


def claim(options: TrainingOptions, weights: str) -> Path:
    """Make `out` the folder of this training, for a target of these weights; where in it what is needed to go on is
    kept."""
    kept = options.out / _KEPT
    try:
        kept.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        expected = f"a folder that can be written to ({error.strerror})"
        raise InvalidRequest("out", str(options.out), expected) from None
    if not (kept / _OPTIONS).exists():
        with replacing(kept / _OPTIONS) as fresh:
            fresh.write_text(json.dumps(options.lasting | {_WEIGHTS: weights}, indent=2) + "\n", encoding="utf-8")
    return kept


@contextmanager
def replacing(file: Path) -> Iterator[Path]:
    """Where to write what then takes a file's place: whoever reads sees the old one or the new one, also after the
    power failed. Raises TrainingFailed where there is no room for it."""
    fresh = file.with_name(f".{file.name}")
    try:
        yield fresh
        with fresh.open("rb+") as written:
            os.fsync(written.fileno())
        os.replace(fresh, file)
    except (OSError, RuntimeError, SafetensorError) as error:  # RuntimeError: of torch.save
        raise unwritten(file, error) from error
    finally:
        fresh.unlink(missing_ok=True)


def unwritten(file: Path, error: Exception) -> TrainingFailed:
    """What to raise where a file could not be written."""
    return TrainingFailed(
        f"{file} could not be written ({first_line(error)}); expected room on its disk: what was kept before is still "
        "there, and the same command goes on"
    )
