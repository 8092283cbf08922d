"""Which heads there are for a target: on this machine, and published."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from functools import cache
from importlib.resources import files
from pathlib import Path

from specdec.drafters.heads.config import method_of, verifier_of
from specdec.errors import LoadError
from specdec.models.weights.stores import hub_snapshots
from specdec.types import PublishedDraft


@cache
def pairs() -> tuple[tuple[tuple[str, ...], PublishedDraft], ...]:
    """All heads that are known here, each behind its targets: patterns of hub ids without their owner."""
    text = (files("specdec.drafters") / "pairs.toml").read_text(encoding="utf-8")
    return tuple(
        (tuple(entry["targets"]), PublishedDraft(entry["head"], entry["gigabytes"], entry["licence"], entry["helps"]))
        for entry in tomllib.loads(text)["pairs"]
    )


def published(target: str) -> list[PublishedDraft]:
    """Those for a target, by its folder's name or hub id; the first is the best guess."""
    name = _last(target)
    return [head for targets, head in pairs() if any(fnmatch(name, pattern.lower()) for pattern in targets)]


def local_heads(target: str, folder: Path) -> Iterator[tuple[str, Path]]:
    """Names and folders of heads on this machine that say, or whose place says, that they are for this target: below
    its folder, beside it, in the hub's cache."""
    if folder.is_dir():
        yield from ((str(at), at) for at in _heads_in(folder))
        for at in _heads_in(folder.parent):
            named = verifier_of(at)
            if _last(named or "") == _last(target) or (
                named is None and at.name.lower().startswith(folder.name.lower())
            ):
                yield str(at), at
    known = {head.name for head in published(target)}
    for name, at in hub_snapshots():
        fits = (at / "config.json").exists() and _is_head(at)
        if fits and (name in known or _last(verifier_of(at) or "") == _last(target)):
            yield name, at


def _last(name: str) -> str:
    """A hub id without its owner, a folder without those above it."""
    return Path(name).name.lower()


def _heads_in(folder: Path) -> list[Path]:
    return [config.parent for config in sorted(folder.glob("*/config.json")) if _is_head(config.parent)]


def _is_head(folder: Path) -> bool:
    try:
        return method_of(folder) is not None
    except LoadError:  # a config of something else
        return False
