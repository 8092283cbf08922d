"""Choosing a model: what is here, what servers have, what the hub has, and fetching it."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from textual.widget import Widget
from textual.widgets import Input, OptionList

from specdec.errors import LoadError
from specdec.types import LoadOptions
from specdec_tui.core.config import Config
from specdec_tui.core.engines import EngineOpener
from specdec_tui.core.models import ModelOption, NamedServer, described, missing, models, served
from specdec_tui.screens.download import DownloadScreen
from specdec_tui.screens.models import ModelsScreen
from tests.fakes import ScriptedEngine
from tests.hub import NAME, Hub, on_this_machine
from tests.remote.scripted import ScriptedServer
from tests.specdec_tui.running import Driver, Garage, running


class Fetching(Garage):
    """Asks the hub for what is not here."""

    missing = staticmethod(EngineOpener.missing)


@pytest.fixture
def our_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with on_this_machine(tmp_path, monkeypatch) as server:
        yield server


def _says(frame: Widget, text: str) -> bool:
    return str(frame.border_subtitle).startswith(text)


def _names(chat: Driver) -> list[str]:
    options = chat.app.screen.query_one("#targets", OptionList)
    return [str(option.prompt) for option in options.options]


async def test_a_model_is_fetched_before_it_is_loaded(our_hub: Hub) -> None:
    garage = Fetching(ScriptedEngine())
    async with running(garage=garage) as chat:
        await chat.ready()
        await chat.enter(f"/model {NAME}")
        await chat.until(lambda: len(garage.choices) == 2)
        assert garage.choices[1].target == NAME
        assert not isinstance(chat.app.screen, DownloadScreen)
        assert our_hub.ranges == [0]


async def test_a_download_is_cancelled_and_the_engine_stays(our_hub: Hub) -> None:
    our_hub.held.clear()
    garage = Fetching(ScriptedEngine())
    async with running(garage=garage) as chat:
        await chat.ready()
        await chat.enter(f"/model {NAME}")
        await chat.until(lambda: isinstance(chat.app.screen, DownloadScreen) and our_hub.ranges)
        await chat.pilot.press("escape")
        await chat.until(lambda: chat.app.screen is chat.app.main)
        await chat.until(lambda: chat.text_of("#state") == "ready")
        assert len(garage.choices) == 1
        our_hub.held.set()


def test_only_hub_ids_that_are_not_wholly_here_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    index = json.dumps({"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}})
    for name, *files in (
        ("here", "config.json", "model.safetensors"),
        ("begun", "config.json"),
        ("part", "1.safetensors", "model.safetensors.index.json"),
        ("parts", "1.safetensors", "2.safetensors", "model.safetensors.index.json"),
        ("gguf", "Tiny-Q8_0.gguf"),
    ):
        snapshot = tmp_path / f"models--a--{name}" / "snapshots" / "c"
        snapshot.mkdir(parents=True)
        for file in files:
            (snapshot / file).write_text(index)
    names = ["a/b", "a/here", "a/begun", "a/part", "a/parts", "a/gguf:Q4_K_M", "a/gguf:Q8_0"]
    names += ["bundled", "auto", str(tmp_path), "http://x/v1", "ollama:a/b"]
    assert [name for name in names if missing(name)] == ["a/b", "a/begun", "a/part", "a/gguf:Q4_K_M"]


async def test_what_is_here_is_described() -> None:
    (bundled, *_) = await described([])
    assert (bundled.name, bundled.source[-2:]) == ("bundled", "GB")
    assert "fast" in bundled.details
    assert "draft" in bundled.details


async def test_models_of_servers_are_listed_with_what_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    async def here(_folders: object) -> list[ModelOption]:
        return [ModelOption("bundled", "0.06 GB", "F32 · fast"), ModelOption("b/c", "1.00 GB", "BF16 · runs")]

    monkeypatch.setattr("specdec_tui.commands.described", here)
    with ScriptedServer("vllm") as server:
        servers = {"gpu": NamedServer(server.url, "k"), "none": NamedServer("http://127.0.0.1:1/v1")}
        garage = Garage(ScriptedEngine())
        async with running(garage=garage, config=Config(servers=servers)) as chat:
            await chat.ready()
            await chat.pilot.press("f3")
            await chat.until(lambda: isinstance(chat.app.screen, ModelsScreen) and len(_names(chat)) == 3)
            assert "BF16 · runs" in _names(chat)[1]
            await chat.pilot.press("end", "enter")
            await chat.until(lambda: len(garage.choices) == 2)
            assert garage.choices[1].target.startswith(f"{server.url}#")
            assert garage.choices[1].api_key == "k"
            await chat.enter("/model gpu")
            await chat.until(lambda: len(garage.choices) == 3)
            assert (garage.choices[2].target, garage.choices[2].api_key) == (server.url, "k")
    assert served("gone", servers["gpu"]) == []


async def test_what_is_loaded_is_listed_wherever_it_is_from_and_stays_with_another_draft() -> None:
    present = LoadOptions("/elsewhere/fox.gguf", draft="/elsewhere/cub")
    garage = Garage(ScriptedEngine())
    async with running(garage=garage, config=Config(engine=present)) as chat:
        await chat.ready()
        await chat.pilot.press("f3")
        await chat.until(lambda: isinstance(chat.app.screen, ModelsScreen))
        assert "/elsewhere/fox.gguf" in _names(chat)[0]
        chat.app.engines.check = lambda options: None  # type: ignore[method-assign]  # these are not there
        await chat.pilot.press("tab", "down", "down", "enter")
        await chat.until(lambda: len(garage.choices) == 2)
        assert garage.choices[1] == replace(present, draft="none")


async def test_keys_go_on_while_a_model_is_looked_for_and_prompts_wait_for_it() -> None:
    old, new, looked = ScriptedEngine(["old"]), ScriptedEngine(["new"]), threading.Event()
    async with running(garage=Garage(old, new)) as chat:
        await chat.ready()
        chat.app.engines.check = lambda options: looked.wait(60)  # type: ignore[assignment]
        chat.app.engines.missing = lambda options: []  # type: ignore[method-assign]
        await chat.enter("/model a/b")
        await chat.until(lambda: chat.text_of("#state") == "looking for the model")
        await chat.enter("Who is there?")
        await chat.until(lambda: chat.app.main.queue.texts == ["Who is there?"])
        await chat.pilot.press(*"and")
        assert chat.app.main.prompt.text == "and"
        looked.set()
        await chat.until(lambda: chat.texts == ["Who is there?", "new"])


async def test_words_search_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [[ModelOption(NAME, "hub", "1,234 downloads a month")]]

    def searched(words: str) -> list[ModelOption]:
        assert words == "small fox"
        if not found:
            raise LoadError("the hub cannot be reached")
        return found.pop()

    monkeypatch.setattr("specdec_tui.screens.models.search", searched)
    async with running(ScriptedEngine()) as chat:
        await chat.ready()
        await chat.pilot.press("f3")
        await chat.until(lambda: isinstance(chat.app.screen, ModelsScreen))
        box = chat.app.screen.query_one(Input)
        frame = chat.app.screen.query_one("ModelsScreen > Vertical")
        for said in ("1 models of the hub", "the hub cannot be reached"):
            box.value = ""
            await chat.pilot.press(*"small", "space", *"fox", "enter")  # over a list, too
            await chat.until(partial(_says, frame, said))
            assert [NAME in line for line in _names(chat)] == [True]


def test_what_cannot_be_a_path_is_no_model_here() -> None:
    assert missing("~no-such-user/x")
    assert missing("x/" + "x" * 5000)
    assert [m.source for m in models([Path("~no-such-user/x")]) if "no-such" in m.source] == []


async def test_what_cannot_be_reached_is_refused_and_the_engine_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Unreachable(Exception):
        """The hub's library has an error of its own network library, and no OSError."""

    def unreachable(*_: object, **__: object) -> None:
        raise Unreachable("[Errno -2] Name or service not known")

    class Checking(Garage):
        check = EngineOpener(Path(os.devnull)).check

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", unreachable)
    engine = ScriptedEngine()
    async with running(garage=Checking(engine)) as chat:
        await chat.ready()
        await chat.enter("/model nowhere/model")
        why = "nowhere/model is not here, and the hub cannot be reached: Name or service not known"
        await chat.until(lambda: chat.text_of("#problem") == why)
        await chat.enter("/model http://127.0.0.1:1/v1")
        await chat.until(lambda: "http://127.0.0.1:1/v1 cannot be reached" in chat.text_of("#problem"))
        assert not engine.closed
