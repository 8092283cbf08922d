"""`load()` turns the name of a target into an Engine; `shared()` gives one to everyone who names the same.

Importing it does not import torch.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, fields
from os import PathLike, fspath
from typing import Any, Self, TypedDict, Unpack, get_args

from specdec.engine import AcceptRule, Engine, Progress
from specdec.errors import InvalidRequest

Name = str | PathLike[str]


class LoadKeywords(TypedDict, total=False):
    """The fields of LoadOptions but target and draft, as options of a call."""

    device: str
    dtype: str
    context: int | None
    slots: int
    accept_rule: AcceptRule
    queue_limit: int
    prefix_cache_bytes: int | None
    remember: int
    tool_format: str
    trust_remote_code: bool
    api_key: str | None


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """What to load, and how. Raises InvalidRequest for values that no engine can have."""

    target: str = "bundled"
    """"bundled", a local folder, a hub id, or the base URL of an OpenAI-compatible server (http://host:8000/v1)."""
    draft: str = "auto"
    """"auto" (the bundled draft for the bundled target, lookup in the text so far for every other), "none", "lookup", a
    folder or a hub id (used together with lookup)."""
    device: str = "auto"
    dtype: str = "auto"
    context: int | None = None
    """Tokens per slot, prompt and answer together (default: the model's own, at most 8192)."""
    slots: int = 4
    """How many requests run at once."""
    accept_rule: AcceptRule = "coupled"
    queue_limit: int = 256
    """How many requests wait for a slot before EngineBusy."""
    prefix_cache_bytes: int | None = None
    """Memory for what earlier requests computed, for later ones that begin alike (default: as much as the slots take,
    and no more than half of a GPU's free memory; 0: only what free slots hold)."""
    remember: int = 32_768
    """Tokens of recent answers that later ones, whosever they are, may be drafted from (0: none)."""
    tool_format: str = "auto"
    """How the model writes tool calls: "auto" (as its chat template shows), "none", "hermes", "llama3", "mistral"."""
    trust_remote_code: bool = False
    api_key: str | None = None
    """Of a server."""

    def __post_init__(self) -> None:
        _whole("slots", self.slots, 1, 1024)
        if self.accept_rule not in get_args(AcceptRule):
            raise InvalidRequest("accept_rule", self.accept_rule, " or ".join(get_args(AcceptRule)))
        _whole("queue_limit", self.queue_limit, 1)
        _whole("prefix_cache_bytes", self.prefix_cache_bytes or 0, 0)
        _whole("remember", self.remember, 0)
        if self.api_key is not None and not self.remote:
            raise InvalidRequest("api_key", "***", "none beside a target that is no URL")

    @classmethod
    def of(cls, target: Name, draft: Name, keywords: LoadKeywords) -> Self:
        """From the arguments of `load`; paths become text."""
        names = {"target": target, "draft": draft}
        for field, value in names.items():
            if not isinstance(value, (str, PathLike)):
                expected = 'a folder, a hub id, or a name such as "bundled", "auto" or "none"'
                raise InvalidRequest(field, value, expected)
        if unknown := keywords.keys() - {f.name for f in fields(cls)}:
            raise TypeError(f"unknown options: {', '.join(sorted(unknown))}")
        return cls(fspath(target), fspath(draft), **keywords)

    @property
    def remote(self) -> bool:
        """Whether the target is a server's URL."""
        return self.target.startswith(("http://", "https://"))

    def changed(self) -> dict[str, Any]:
        """The fields that are not their defaults."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}


def _whole(name: str, value: object, least: int, most: int | None = None) -> None:
    if not isinstance(value, int) or value < least or (most is not None and value > most):
        bounds = f"{least} or more" if most is None else f"from {least} to {most}"
        raise InvalidRequest(name, value, f"a whole number {bounds}")


def load(
    target: Name = "bundled",
    draft: Name = "auto",
    *,
    progress: Progress | None = None,
    **options: Unpack[LoadKeywords],
) -> Engine:
    """Load a target model and what drafts for it; see LoadOptions. Of a target that is a URL, device, dtype, drafts,
    queue and caches are the server's. `progress` hears how far it has come. Raises LoadError or InvalidRequest."""
    return load_engine(LoadOptions.of(target, draft, options), progress or (lambda _stage, _fraction: None))


def load_engine(options: LoadOptions, progress: Progress) -> Engine:
    """The same, from options that are together already."""
    if options.remote:
        from specdec.remote.load import load_remote

        return load_remote(options)
    from specdec.decoding.assembly import load_local  # torch comes in here, and only here
    from specdec.threads.loading import in_thread

    return in_thread(lambda: load_local(options, progress))


class SharedEngines:
    """Engines by how they were loaded. May be called from any thread."""

    def __init__(self, load: Callable[[LoadOptions], Engine]) -> None:
        self._load = load
        self._engines: dict[tuple[int, LoadOptions], Engine] = {}
        self._locks: dict[tuple[int, LoadOptions], threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, options: LoadOptions) -> Engine:
        """The engine, loaded if nobody has asked for it before."""
        key = (os.getpid(), options)  # a forked child has none of its parent's threads, so it needs its own
        if engine := self._engines.get(key):
            return engine
        with self._lock:
            loading = self._locks.setdefault(key, threading.Lock())
        with loading:  # others who want another engine do not wait for this one
            if key not in self._engines:
                self._engines[key] = self._load(options)
            return self._engines[key]

    def peek(self, options: LoadOptions) -> Engine | None:
        """The engine, if it is there."""
        return self._engines.get((os.getpid(), options))

    def forget(self, engine: Engine) -> None:
        with self._lock:
            for key in [k for k, e in self._engines.items() if e is engine]:
                del self._engines[key]


_shared = SharedEngines(lambda options: load_engine(options, lambda _stage, _fraction: None))


def shared(target: Name = "bundled", draft: Name = "auto", **options: Unpack[LoadKeywords]) -> Engine:
    """The process's engine for these models and options (those of `load`), loaded when first asked for.

    May be called from any thread. It belongs to everyone: do not close it, or `forget` it first.
    """
    return _shared.get(LoadOptions.of(target, draft, options))


def loaded(target: Name = "bundled", draft: Name = "auto", **options: Unpack[LoadKeywords]) -> Engine | None:
    """The same, if somebody has asked for it before; nothing is loaded."""
    return _shared.peek(LoadOptions.of(target, draft, options))


def forget(engine: Engine) -> None:
    """Have the next `shared` load anew: this engine was closed, or has failed."""
    _shared.forget(engine)


def served(base_url: str, model: str = "bundled") -> str:
    """The target, for `shared`, that is `model` at a server; the one that it serves, where the name is the default."""
    if not base_url.startswith(("http://", "https://")):
        raise InvalidRequest("base_url", base_url, "a base URL such as http://host:8000/v1")
    return base_url if model == "bundled" or "#" in base_url else f"{base_url}#{model}"
