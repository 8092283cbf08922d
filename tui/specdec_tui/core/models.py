"""Which models there are to choose from: the bundled pair, the hub's local cache, folders. Reads names only."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_FEW = 200
"""Models of one folder; a list longer than this helps nobody."""


_PATIENCE = 5.0
"""Seconds that the hub may take to answer."""


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


def known(name: str) -> bool:
    """Whether there is such a model: here, in the hub's cache, or at the hub."""
    if Path(name).expanduser().exists() or name in [m.name for m in models()]:
        return True
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    try:
        HfApi().model_info(name, timeout=_PATIENCE)
    except (HFValidationError, OfflineModeIsEnabled, HfHubHTTPError, OSError):
        return False
    return True


def _hub() -> Path:
    if cache := os.environ.get("HF_HUB_CACHE"):
        return Path(cache)
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface"
    return Path(home).expanduser() / "hub"
