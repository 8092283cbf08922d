"""The folder of a training: the drafter, and beside it what is needed to go on."""

from __future__ import annotations

import json
from pathlib import Path

from specdec.errors import InvalidRequest
from specdec.training.options import TrainingOptions

_KEPT = "training"
_OPTIONS = "options.json"


def claim(options: TrainingOptions) -> Path:
    """The folder in `out` for what the training keeps. Raises InvalidRequest where `out` holds something else, or a
    training that was asked for otherwise."""
    out = options.out
    kept, file = out / _KEPT, out / _KEPT / _OPTIONS
    if out.exists() and not out.is_dir():
        raise InvalidRequest("out", str(out), "a folder")
    if not file.exists():
        if out.exists() and any(out.iterdir()):
            raise InvalidRequest("out", str(out), "a folder that is empty, is not there yet, or holds a training")
        kept.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(options.lasting, indent=2) + "\n", encoding="utf-8")
        return kept
    try:
        before = json.loads(file.read_text("utf-8"))
    except ValueError:
        raise InvalidRequest("out", str(out), f"a folder whose {_KEPT}/{_OPTIONS} can be read") from None
    changed = {name: before.get(name) for name, value in options.lasting.items() if before.get(name) != value}
    if changed:
        was = ", ".join(f"{name}={value!r}" for name, value in changed.items())
        raise InvalidRequest("out", str(out), f"another folder: the training in this one has {was}")
    return kept
