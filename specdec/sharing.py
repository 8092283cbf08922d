"""One engine for everyone in a process who names the same models."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from inspect import signature
from typing import Any

from specdec.engine import Engine, load
from specdec.errors import InvalidRequest

_Key = tuple[Any, ...]


class _Shared:
    """Engines by how they were loaded."""

    def __init__(self, load: Callable[..., Engine]) -> None:
        self._load = load
        self._engines: dict[_Key, Engine] = {}
        self._locks: dict[_Key, threading.Lock] = {}
        self._lock = threading.Lock()

    def get(self, target: str, draft: str, options: dict[str, Any]) -> Engine:
        key = _key(target, draft, options)
        if engine := self._engines.get(key):
            return engine
        with self._lock:
            loading = self._locks.setdefault(key, threading.Lock())
        with loading:  # others who want another engine do not wait for this one
            if key not in self._engines:
                self._engines[key] = self._load(target, draft, **options)
            return self._engines[key]

    def peek(self, target: str, draft: str, options: dict[str, Any]) -> Engine | None:
        return self._engines.get(_key(target, draft, options))

    def forget(self, engine: Engine) -> None:
        with self._lock:
            for key in [k for k, e in self._engines.items() if e is engine]:
                del self._engines[key]


_DEFAULTS = {name: p.default for name, p in signature(load).parameters.items() if p.kind is p.KEYWORD_ONLY}


def _key(target: str, draft: str, options: dict[str, Any]) -> _Key:
    # Who names a default means the same engine. A forked child has none of its parent's threads, so it needs its own.
    named = {name: value for name, value in {**_DEFAULTS, **options}.items() if name != "progress"}
    return (os.getpid(), target, draft, *sorted(named.items()))


_shared = _Shared(load)


def shared(target: str = "bundled", draft: str = "auto", **options: Any) -> Engine:
    """The process's engine for these models and options (those of `specdec.load`), loaded when first asked for.

    May be called from any thread. It belongs to everyone: do not close it, or `forget` it first.
    """
    return _shared.get(target, draft, options)


def loaded(target: str = "bundled", draft: str = "auto", **options: Any) -> Engine | None:
    """The same, if somebody has asked for it before; nothing is loaded."""
    return _shared.peek(target, draft, options)


def forget(engine: Engine) -> None:
    """Have the next `shared` load anew: this engine was closed, or has failed."""
    _shared.forget(engine)


def served(base_url: str, model: str = "bundled") -> str:
    """The target, for `shared`, that is `model` at a server; the one that it serves, where the name is the default."""
    if not base_url.startswith(("http://", "https://")):
        raise InvalidRequest("base_url", base_url, "a base URL such as http://host:8000/v1")
    return base_url if model == "bundled" or "#" in base_url else f"{base_url}#{model}"
