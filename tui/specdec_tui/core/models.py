"""Which models there are to choose from: the bundled pair, the hub's local cache, folders. Reads names only."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_FEW = 200
"""Models of one folder; a list longer than this helps nobody."""


@dataclass(frozen=True, slots=True)
class Model:
    """What `load` would be called with, and where it comes from."""

    name: str
    source: str


def models(folders: Iterable[Path] = ()) -> list[Model]:
    """All that can be loaded without a network."""
    return [Model("bundled", "comes with specdec"), *_cached(), *(m for f in folders for m in _inside(f))]


def _cached() -> Iterator[Model]:
    """Repositories in the hub's cache that have a config in some snapshot."""
    for repository in sorted(_hub().glob("models--*")):
        if any(repository.glob("snapshots/*/config.json")):
            yield Model(repository.name.removeprefix("models--").replace("--", "/"), "hub cache")


def _hub() -> Path:
    if cache := os.environ.get("HF_HUB_CACHE"):
        return Path(cache)
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface"
    return Path(home).expanduser() / "hub"


def _inside(folder: Path) -> Iterator[Model]:
    """The folder itself, or those in it, that have a config."""
    folder = folder.expanduser()
    try:
        inner = sorted(folder.iterdir())[:_FEW] if folder.is_dir() else []
    except OSError:
        return
    for path in (folder, *inner):
        if (path / "config.json").is_file():
            yield Model(str(path), f"folder {path.parent}")
