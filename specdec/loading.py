"""`load()` turns the name of a target into an Engine; `shared()` gives one to everyone who names the same.

Importing it does not import torch.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Unpack

from specdec.engine import Engine, Progress
from specdec.errors import InvalidRequest, extra
from specdec.types.load import LoadKeywords, LoadOptions, Name


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
    with extra("local", "a model on this machine"):
        from specdec.decoding.assembly import load_local  # torch comes in here, and only here
        from specdec.threads.loading import in_thread

    return in_thread(lambda: load_local(options, progress))


class SharedEngines:
    """Engines by how they were loaded. May be called from any thread.

    One that is down is loaded anew: those that `load_engine` gives stay down once they are, closed or failed.
    """

    def __init__(self, load: Callable[[LoadOptions], Engine]) -> None:
        self._load = load
        self._engines: dict[tuple[int, LoadOptions], Engine] = {}
        self._locks: dict[tuple[int, LoadOptions], threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, options: LoadOptions) -> Engine:
        """The engine, loaded where there is none."""
        if engine := self.peek(options):
            return engine
        key = _key(options)
        with self._lock:
            loading = self._locks.setdefault(key, threading.Lock())
        with loading:  # others who want another engine do not wait for this one
            if engine := self.peek(options):
                return engine
            self._engines.pop(key, None)  # what is down has to leave its memory to the next
            return self._engines.setdefault(key, self._load(options))

    async def aget(self, options: LoadOptions) -> Engine:
        """The same, without blocking the loop while it loads."""
        import asyncio

        engine = self.peek(options)
        return await asyncio.to_thread(self.get, options) if engine is None else engine

    def peek(self, options: LoadOptions) -> Engine | None:
        """The engine, where there is one; nothing is loaded."""
        engine = self._engines.get(_key(options))
        return None if engine is None or engine.down else engine


def _key(options: LoadOptions) -> tuple[int, LoadOptions]:
    """A forked child has none of its parent's threads, so it needs an engine of its own."""
    return os.getpid(), options


engines = SharedEngines(lambda options: load_engine(options, lambda _stage, _fraction: None))
"""Of this process."""


def shared(target: Name = "bundled", draft: Name = "auto", **options: Unpack[LoadKeywords]) -> Engine:
    """The process's engine for these models and options (those of `load`), loaded when first asked for.

    May be called from any thread. It belongs to everyone: once it is closed, or has failed, the next call loads anew.
    """
    return engines.get(LoadOptions.of(target, draft, options))


def served(base_url: str, model: str = "bundled") -> str:
    """The target, for `shared`, that is `model` at a server; the one that it serves, where the name is the default."""
    if not base_url.startswith(("http://", "https://")):
        raise InvalidRequest("base_url", base_url, "a base URL such as http://host:8000/v1")
    return base_url if model == "bundled" or "#" in base_url else f"{base_url}#{model}"
