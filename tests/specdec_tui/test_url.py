"""A chat with a model that another server runs."""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from specdec.engine import Progress
from specdec.types import LoadOptions
from specdec_server import ModelPool, NamedModel, Settings
from specdec_tui.app import ChatApp
from specdec_tui.core.config import Config, ScreenConfig
from specdec_tui.core.engines import EngineOpener
from specdec_tui.widgets.token_view import TokenView
from tests.fakes import SCRIPT, ScriptedEngine
from tests.remote.scripted import Exchange, ScriptedServer, story
from tests.specdec_server.live import live
from tests.specdec_tui.running import Driver


@asynccontextmanager
async def chat_at(url: str) -> AsyncIterator[Driver]:
    app = ChatApp(Config(engine=LoadOptions(url), screen=ScreenConfig(gauge="full")), EngineOpener(Path(os.devnull)))
    async with app.run_test(size=(120, 40)) as pilot:
        chat = Driver(app, pilot)
        await chat.ready()
        yield chat


@asynccontextmanager
async def chat_with(server: ScriptedServer) -> AsyncIterator[Driver]:
    with server:
        async with chat_at(server.url) as chat:
            yield chat


async def _broken(exchange: Exchange) -> None:
    await exchange.begin()
    await exchange.send({"choices": [{"index": 0, "delta": {"content": " broken"}, "finish_reason": None}]})
    await exchange.cut()


async def test_answers_tokens_and_figures_come_from_the_server() -> None:
    server = ScriptedServer("vllm", speculates=True)
    async with chat_with(server) as chat:
        chat.app.main.chat.configure(chat.app.main.chat.settings.with_text("max_tokens", "12"))
        await chat.ask("Tell me")
        await chat.ask("Go on")
        told = " " + " ".join(f"w{i}" for i in range(12))
        assert chat.texts == ["Tell me", told, "Go on", told]
        asked = [exchange.body["messages"] for exchange in server.seen]
        assert [message["content"] for message in asked[1]] == ["Tell me", told, "Go on"]
        figures = chat.app.main.chat.conversation.path()[-1].figures
        assert figures["tokens"] == 12
        await chat.pilot.press("ctrl+t")
        await chat.until(lambda: chat.app.screen.query_one(TokenView).entries >= 12)


async def test_a_broken_answer_is_told_and_can_be_asked_again() -> None:
    server = ScriptedServer("vllm")
    server.answers.extend([_broken, story])
    async with chat_with(server) as chat:
        await chat.enter("Tell me")
        await chat.until(lambda: chat.toasts)
        assert server.url.removesuffix("/v1") in chat.toasts[-1]
        await chat.until(lambda: not chat.app.main.running)
        await chat.pilot.press("f7")
        await chat.until(lambda: "w0" in chat.texts[-1] and chat.answered)


async def test_a_server_that_loads_its_model_first_says_so() -> None:
    loaded = threading.Event()

    def load(_progress: Progress) -> ScriptedEngine:
        assert loaded.wait(60)
        return ScriptedEngine()

    pool = ModelPool([NamedModel("slow", load)], Settings(keep_alive=0.05, grace=0.2))
    with live(pool) as server:
        async with chat_at(f"http://127.0.0.1:{server.port}/v1") as chat:
            await chat.enter("Tell me")
            await chat.until(lambda: "the model is being loaded · Esc stops" in chat.text_of("#state"))
            loaded.set()
            await chat.until(lambda: chat.answered)
            assert chat.texts[-1] == "".join(SCRIPT)


async def test_escape_ends_the_answer_at_the_server() -> None:
    server = ScriptedServer("vllm", pace=0.05)
    async with chat_with(server) as chat:
        chat.app.main.chat.configure(chat.app.main.chat.settings.with_text("max_tokens", "400"))
        await chat.enter("Tell me")
        await chat.until(lambda: chat.app.main.generation and chat.app.main.generation.gauge.tokens >= 2)
        await chat.pilot.press("escape")
        await chat.until(lambda: server.left == 1)
        assert chat.app.main.chat.conversation.path()[-1].state == "cancelled"
