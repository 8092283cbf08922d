"""Several models by name: loaded when asked for, listed with their state, gone when idle or when a place is needed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from specdec.engine import Progress
from specdec.errors import CheckpointNotFound, InvalidRequest, NotEnoughMemory
from specdec_server import ModelPool, NamedModel, Settings
from tests.fakes import SCRIPTED_INFO, ScriptedEngine
from tests.specdec_server.client import CHAT, JSON, AppClient, error_of
from tests.specdec_server.live import live, read_until, wait_until

CHATS = "/v1/chat/completions"


class Shelf:
    """Loads scripted engines, as many at once as there is memory for, and remembers in which order."""

    def __init__(self, places: int = 8, *names: str, **settings: object) -> None:
        self.places = places
        self.loads: list[str] = []
        self.engines: dict[str, ScriptedEngine] = {}
        self.gate = threading.Event()
        self.gate.set()
        models = [NamedModel(name, self._maker(name), (f"{name}-alias",)) for name in names or ("a", "b", "c")]
        self.pool = ModelPool(models, replace(Settings(), **settings))  # type: ignore[arg-type]
        self.ask = AppClient(self.pool)

    def _maker(self, name: str) -> Callable[[Progress], ScriptedEngine]:
        def load(progress: Progress) -> ScriptedEngine:
            progress("target", 0.5)
            assert self.gate.wait(20)
            if sum(not engine.closed for engine in self.engines.values()) >= self.places:
                raise NotEnoughMemory(f"{name} needs 1 place; free are 0")
            self.loads.append(name)
            self.engines[name] = ScriptedEngine((name,), info=replace(SCRIPTED_INFO, target=name))
            return self.engines[name]

        return load

    async def says(self, name: str | None) -> str:
        answer = await self.ask.answer(CHATS, CHAT | ({"model": name} if name else {}))
        return str(answer["choices"][0]["message"]["content"])

    async def until(self, name: str, state: str) -> None:
        async with asyncio.timeout(20):
            while (await self.states())[name] != state:  # noqa: ASYNC110  (nothing tells a client)
                await asyncio.sleep(0)

    async def states(self) -> dict[str, str]:
        cards: list[JSON] = (await self.ask.get("/v1/models")).json()["data"]
        return {card["id"]: card["state"] for card in cards}


async def test_each_answers_to_its_names_and_the_first_to_none() -> None:
    shelf = Shelf()
    assert await shelf.states() == {"a": "unloaded", "b": "unloaded", "c": "unloaded"}
    assert [await shelf.says(name) for name in ("b", "b-alias", None)] == ["b", "b", "a"]
    assert shelf.loads == ["b", "a"]
    assert await shelf.states() == {"a": "ready", "b": "ready", "c": "unloaded"}
    card = (await shelf.ask.get("/v1/models/b-alias")).json()
    assert (card["id"], card["aliases"], card["max_model_len"]) == ("b", ["b-alias"], 256)
    answer = await shelf.ask.answer(CHATS, CHAT | {"model": "b-alias"})
    assert answer["model"] == "b"


async def test_unknown_names_are_told_which_there_are() -> None:
    shelf = Shelf()
    error = await shelf.ask.refused(CHATS, CHAT | {"model": "d"}, 404)
    assert error["code"] == "model_not_found" and "'a', 'a-alias', 'b'" in error["message"]
    assert not shelf.loads
    assert await Shelf(8, any_name=True).says("claude-opus") == "a"


def test_a_name_belongs_to_one_model() -> None:
    with pytest.raises(InvalidRequest, match="a name that no other model has"):
        Shelf(8, "a", "a-alias")


async def test_those_who_wait_share_one_loading() -> None:
    shelf = Shelf()
    shelf.gate.clear()
    waiting = asyncio.gather(shelf.says("b"), shelf.says("b"), shelf.says("b"))
    await shelf.until("b", "loading")
    shelf.gate.set()
    assert list(await waiting) == ["b", "b", "b"]
    assert shelf.loads == ["b"]


PROMPTS: dict[str, JSON] = {
    CHATS: CHAT,
    "/v1/completions": {"prompt": "a"},
    "/v1/responses": {"input": "a"},
    "/v1/messages": CHAT | {"max_tokens": 9},
}


@pytest.mark.parametrize("path", PROMPTS)
def test_comments_keep_a_stream_alive_whose_model_is_loaded(path: str) -> None:
    shelf = Shelf(keep_alive=0.05, grace=0.2)
    shelf.gate.clear()
    with (
        live(shelf.pool) as server,
        server.ask(path, PROMPTS[path] | {"stream": True}) as waits,
        server.ask(path, PROMPTS[path] | {"stream": True}) as leaves,
    ):
        for connection in (waits, leaves):
            read_until(connection, b"s, the model is being loaded\n")
        leaves.close()
        shelf.gate.set()
        assert b'"a"' in read_until(waits, b'"a"')
        wait_until(lambda: shelf.pool.default.runs and not shelf.pool.default.runs.answers)
    assert shelf.loads == ["a"]


@pytest.mark.parametrize("path", PROMPTS)
def test_a_stream_says_that_its_model_could_not_be_loaded(path: str) -> None:
    shelf = Shelf(0, keep_alive=0.05, grace=0.2)
    shelf.gate.clear()
    with live(shelf.pool) as server, server.ask(path, PROMPTS[path] | {"stream": True}) as connection:
        assert b" 200 " in read_until(connection, b"s, the model is being loaded\n")
        shelf.gate.set()
        read_until(connection, b"a could not be loaded")


@pytest.mark.parametrize("bound", ["memory", "number"])
async def test_another_takes_the_place_of_the_one_that_was_idle_longest(bound: str) -> None:
    shelf = Shelf(2) if bound == "memory" else Shelf(max_loaded=2)
    for name in ("a", "b", "a", "c"):
        await shelf.says(name)
    assert await shelf.states() == {"a": "ready", "b": "unloaded", "c": "ready"}
    assert shelf.engines["b"].closed and not shelf.engines["a"].closed
    assert await shelf.says("b") == "b"


async def test_many_who_want_one_place_all_get_their_answers() -> None:
    shelf = Shelf(1)
    names = ["a", "b", "c"] * 4
    assert await asyncio.gather(*map(shelf.says, names)) == names


async def test_an_answer_is_finished_before_its_model_leaves() -> None:
    shelf = Shelf(1)
    await shelf.says("a")
    engine = shelf.engines["a"]
    engine.speculative_script, engine.hold = ("still", " here"), 1
    first = asyncio.ensure_future(shelf.says("a"))
    second = asyncio.ensure_future(shelf.says("b"))
    await shelf.until("a", "unloaded")
    assert not engine.closed and (await shelf.ask.get("/metrics")).status_code == 200
    engine.go_on()
    assert (await first, await second) == ("still here", "b")
    assert engine.closed


async def test_one_that_does_not_fit_alone_moves_nobody_again() -> None:
    shelf = Shelf(0)
    for _ in range(2):
        error = await shelf.ask.refused(CHATS, CHAT | {"model": "b"}, 503)
        assert error["code"] == "model_failed" and "needs 1 place" not in error["message"]
    shelf.places = 1
    assert await shelf.says("a") == "a"
    assert error_of(await shelf.ask.post(CHATS, CHAT | {"model": "b"}))["code"] == "model_failed"
    assert await shelf.states() == {"a": "ready", "b": "failed", "c": "unloaded"}


async def test_one_that_could_not_be_loaded_is_tried_again() -> None:
    def load(_progress: Progress) -> ScriptedEngine:
        raise CheckpointNotFound("there is no folder /secret/b")

    pool = ModelPool([NamedModel("b", load)])
    error = await AppClient(pool).refused(CHATS, CHAT, 503)
    assert "/secret" not in error["message"]
    pool.default.load = lambda _progress: ScriptedEngine()
    assert (await AppClient(pool).chat())["choices"]


async def test_one_that_nobody_asks_leaves() -> None:
    shelf = Shelf(idle_unload=0.05)
    await shelf.says("a")
    assert (await shelf.states())["a"] == "ready"
    await shelf.until("a", "unloaded")
    assert await shelf.says("a") == "a"
    assert shelf.loads == ["a", "a"]


async def test_a_request_that_is_refused_is_use_too() -> None:
    """So that an engine which is being loaded again does not leave meanwhile."""
    shelf = Shelf(idle_unload=60)
    await shelf.says("a")
    runs = shelf.pool.default.runs
    assert runs
    runs._used -= 1000
    shelf.engines["a"].close()
    await shelf.ask.refused(CHATS, CHAT | {"model": "a"}, 503)
    assert runs.idle_seconds < 900


async def test_a_server_that_shuts_down_loads_nothing() -> None:
    shelf = Shelf()
    await shelf.says("b")
    shelf.pool.drain(0.0)
    for name in ("a", "b"):
        assert error_of(await shelf.ask.post(CHATS, CHAT | {"model": name}))["code"] == "shutting_down"
    assert (await shelf.ask.get("/ready")).status_code == 503
    shelf.pool.close()
    assert shelf.engines["b"].closed and shelf.loads == ["b"]


async def test_metrics_are_of_all_that_are_loaded() -> None:
    shelf = Shelf()
    assert "specdec_slots 0.0" in (await shelf.ask.get("/metrics")).text
    await shelf.says("a")
    await shelf.says("b")
    assert "specdec_slots 4.0" in (await shelf.ask.get("/metrics")).text
