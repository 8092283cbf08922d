"""One engine for those who name the same models."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from specdec.engine import Engine
from specdec.sharing import _Shared
from tests.fakes import ScriptedEngine


def _loading() -> tuple[_Shared, list[tuple[Any, ...]]]:
    loads: list[tuple[Any, ...]] = []

    def load(target: str, draft: str, **options: Any) -> Engine:
        loads.append((target, draft, options))
        return ScriptedEngine()

    return _Shared(load), loads


def test_many_threads_load_once() -> None:
    shared, loads = _loading()
    with ThreadPoolExecutor(8) as pool:
        engines = list(pool.map(lambda _: shared.get("a", "auto", {}), range(32)))
    assert len({id(engine) for engine in engines}) == len(loads) == 1


def test_a_default_that_is_named_is_the_default() -> None:
    shared, loads = _loading()
    assert shared.get("a", "auto", {}) is shared.get("a", "auto", {"slots": 4, "device": "auto"})
    assert shared.get("a", "auto", {"slots": 8}) is not shared.get("a", "auto", {})
    assert len(loads) == 2


def test_a_forgotten_engine_is_loaded_anew() -> None:
    shared, loads = _loading()
    shared.forget(shared.get("a", "auto", {}))
    assert shared.peek("a", "auto", {}) is None
    shared.get("a", "auto", {})
    assert len(loads) == 2
