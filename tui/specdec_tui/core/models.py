"""Which models there are to choose from: the bundled pair, the hub's local cache, folders. Reads names only."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_FEW = 200
"""Models of one folder; a list longer than this helps nobody."""


@dataclass(frozen=True, slots=True)
class ModelOption:
    """What `load` would be called with, and where it comes from."""

    name: str
    source: str


def models(folders: Iterable[Path] = ()) -> list[ModelOption]:
    """All that can be loaded without a network: what has a config."""
    cached = [path for path in sorted(_hub().glob("models--*")) if any(path.glob("snapshots/*/config.json"))]
    names = [path.name.removeprefix("models--").replace("--", "/") for path in cached]
    found = [ModelOption("bundled", "comes with specdec"), *(ModelOption(name, "hub cache") for name in names)]
    for folder in (f.expanduser() for f in folders):
        with suppress(OSError):
            inner = sorted(folder.iterdir())[:_FEW] if folder.is_dir() else []
            models = [path for path in (folder, *inner) if (path / "config.json").is_file()]
            found += [ModelOption(str(path), f"folder {path.parent}") for path in models]
    return found


def _hub() -> Path:
    if cache := os.environ.get("HF_HUB_CACHE"):
        return Path(cache)
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface"
    return Path(home).expanduser() / "hub"
