"""One engine for those who name the same models."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import get_type_hints

from specdec.engine import Engine
from specdec.loading import SharedEngines
from specdec.types import LoadKeywords, LoadOptions, Request, RequestOptions, SamplingParams
from tests.fakes import ScriptedEngine


def _loading() -> tuple[SharedEngines, list[LoadOptions]]:
    loads: list[LoadOptions] = []

    def load(options: LoadOptions) -> Engine:
        loads.append(options)
        return ScriptedEngine()

    return SharedEngines(load), loads


def test_many_threads_load_once() -> None:
    shared, loads = _loading()
    with ThreadPoolExecutor(8) as pool:
        engines = list(pool.map(lambda _: shared.get(LoadOptions("a")), range(32)))
    assert len({id(engine) for engine in engines}) == len(loads) == 1


def test_a_default_that_is_named_is_the_default() -> None:
    shared, loads = _loading()
    assert shared.get(LoadOptions("a")) is shared.get(LoadOptions.of("a", "auto", {"slots": 4, "device": "auto"}))
    assert shared.get(LoadOptions("a", slots=8)) is not shared.get(LoadOptions("a"))
    assert len(loads) == 2


def test_an_engine_that_is_down_is_loaded_anew() -> None:
    shared, loads = _loading()
    first = shared.get(LoadOptions("a"))
    assert shared.peek(LoadOptions("a")) is shared.get(LoadOptions("a")) is first
    first.close()
    assert shared.peek(LoadOptions("a")) is None
    assert shared.get(LoadOptions("a")) is not first
    assert shared.get(LoadOptions("a")).down is None
    assert len(loads) == 2


async def test_loading_does_not_block_the_loop() -> None:
    gate = threading.Event()

    def load(_: LoadOptions) -> Engine:
        assert gate.wait(20)
        return ScriptedEngine()

    shared = SharedEngines(load)
    loading = asyncio.create_task(shared.aget(LoadOptions("a")))
    await asyncio.sleep(0)
    gate.set()  # the loop gets here only if it was not blocked
    assert await loading is await shared.aget(LoadOptions("a")) is shared.get(LoadOptions("a"))


def test_the_options_of_a_call_are_the_fields() -> None:
    hints = {n: h for n, h in get_type_hints(LoadOptions).items() if n not in ("target", "draft")}
    assert hints == get_type_hints(LoadKeywords)
    asked = {f.name for f in (*dataclasses.fields(Request), *dataclasses.fields(SamplingParams))}
    assert asked - {"prompt"} == set(get_type_hints(RequestOptions))
