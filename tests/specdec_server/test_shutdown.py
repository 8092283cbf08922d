"""Stopping: answers finish within the grace, others get a last event, nothing new is taken."""

from __future__ import annotations

import json
import signal
import time

from specdec_server import Settings
from tests.fakes import ScriptedEngine
from tests.specdec_server.client import CHAT
from tests.specdec_server.live import LiveServer, read_all, read_until, wait_until
from tests.specdec_server.test_pool import Shelf

PATH = "/v1/chat/completions"


def test_answers_finish_within_the_grace() -> None:
    engine = ScriptedEngine(hold=1)
    server = LiveServer(engine, Settings(grace=20))
    with server.ask(PATH, CHAT | {"stream": True}) as stream, server.ask(PATH, CHAT) as whole:
        read_until(stream, b"Once")
        wait_until(lambda: engine.stats().active == 2)
        server.server.should_exit = True
        wait_until(lambda: server.app.state.pool.draining)
        engine.go_on()
        assert read_all(stream).rstrip().endswith(b"data: [DONE]\n\n\r\n0".rstrip())
        assert b'"finish_reason":"stop"' in read_all(whole)
    server.stop()


def test_what_is_not_finished_ends_properly() -> None:
    engine = ScriptedEngine(hold=1)
    server = LiveServer(engine, Settings(grace=0.2))
    with server.ask(PATH, CHAT | {"stream": True}) as stream, server.ask(PATH, CHAT) as whole:
        read_until(stream, b"Once")
        wait_until(lambda: engine.stats().active == 2)
        begun = time.monotonic()
        server.server.should_exit = True
        rest = read_all(stream).decode()
        error = next(line for line in rest.splitlines() if "error" in line)
        assert json.loads(error.removeprefix("data: "))["error"]["code"] == "shutting_down"
        assert "data: [DONE]" in rest
        assert read_all(whole).startswith(b"HTTP/1.1 503 ")
        assert time.monotonic() - begun < 5
    engine.go_on()
    server.stop()
    assert engine.stats().active == 0


def test_nothing_new_is_taken() -> None:
    engine = ScriptedEngine(hold=1)
    server = LiveServer(engine, Settings(grace=20))
    with server.ask(PATH, CHAT | {"stream": True}) as stream:
        read_until(stream, b"Once")
        server.app.state.pool.draining = True
        assert server.client.get("/ready").status_code == 503
        assert server.post(PATH, CHAT).status_code == 503
        assert server.client.get("/health").status_code == 200
        engine.go_on()
        read_until(stream, b"[DONE]")
    server.stop()


def test_told_twice_it_ends_all_at_once() -> None:
    """Each with its last event, or with a status; those that wait for a model, too."""
    shelf = Shelf(grace=60)
    engine = shelf.engines["a"] = ScriptedEngine(hold=1)
    shelf.pool.default.load = lambda _progress: engine
    server = LiveServer(shelf.pool)
    whole, stream, loading = CHAT, CHAT | {"stream": True}, CHAT | {"model": "b"}
    shelf.gate.clear()
    with server.ask(PATH, whole) as one, server.ask(PATH, stream) as two, server.ask(PATH, loading) as three:
        read_until(two, b"Once")
        wait_until(lambda: engine.stats().active == 2)
        wait_until(lambda: shelf.pool.find("b").waiting)
        for _ in range(2):
            server.server.handle_exit(signal.SIGINT, None)
        assert b'"code":"shutting_down"' in read_all(two)
        assert all(read_all(left).startswith(b"HTTP/1.1 503 ") for left in (one, three))
    engine.go_on()
    shelf.gate.set()
    server.stop()
