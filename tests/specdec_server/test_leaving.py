"""Clients that leave, stall or read slowly, over real connections: the slot is freed, memory stays bounded."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import AsyncGenerator, Iterator

import pytest

from specdec.types import GenerationEvent, Request
from specdec_server import Settings
from specdec_server.runs import Run
from specdec_server.serving import PatientProtocol
from tests.fakes import ScriptedAsyncStream, ScriptedEngine
from tests.specdec_server.client import CHAT
from tests.specdec_server.live import LiveServer, live, read_all, read_until, request, wait_until

CHAT_PATH = "/v1/chat/completions"
LONG = ["word " * 400] * 10_000  # 20 MB: more than all buffers between the two ends


@pytest.fixture
def held() -> Iterator[tuple[ScriptedEngine, LiveServer]]:
    """An engine that stops before its third event, behind a server."""
    engine = ScriptedEngine(hold=2)
    with live(engine) as server:
        yield engine, server
        engine.go_on()


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("path", [CHAT_PATH, "/v1/completions", "/v1/responses", "/v1/messages"])
def test_a_client_that_leaves_frees_its_slot(held: tuple[ScriptedEngine, LiveServer], path: str, stream: bool) -> None:
    engine, server = held
    prompt = {"messages": CHAT["messages"]} if path in (CHAT_PATH, "/v1/messages") else {"prompt": "a"}
    body = ({"input": "a"} if path == "/v1/responses" else prompt) | {"stream": stream}
    connection = server.ask(path, body)
    if stream:
        read_until(connection, b"Once")
    wait_until(lambda: engine.stats().active == 1)
    connection.close()
    wait_until(lambda: engine.stats().active == 0)
    assert engine.stats().cancelled == 1
    wait_until(lambda: server.app.state.pool.default.runs.answers == 0)
    assert server.client.get("/health").status_code == 200


def test_a_client_that_leaves_several_choices_frees_all(held: tuple[ScriptedEngine, LiveServer]) -> None:
    engine, server = held
    connection = server.ask(CHAT_PATH, CHAT | {"stream": True, "n": 4})
    wait_until(lambda: engine.stats().active == 4)
    connection.close()
    wait_until(lambda: engine.stats().active == 0)


def test_a_reset_connection_frees_its_slot(held: tuple[ScriptedEngine, LiveServer]) -> None:
    engine, server = held
    connection = server.ask(CHAT_PATH, CHAT | {"stream": True})
    read_until(connection, b"Once")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    connection.close()
    wait_until(lambda: engine.stats().active == 0)


def test_comments_keep_a_waiting_stream_alive() -> None:
    engine = ScriptedEngine(hold=0)
    with live(engine, Settings(keep_alive=0.05, grace=0.2)) as server:
        connection = server.ask(CHAT_PATH, CHAT | {"stream": True})
        read = read_until(connection, b"\n: ")
        assert b"data:" not in read, "nothing was said before there was a token"
        engine.go_on()
        assert b"[DONE]" in read_until(connection, b"[DONE]")
        connection.close()


def test_comments_say_how_much_of_the_prompt_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = ScriptedEngine(hold=0)
    answer = engine.astream

    async def after_a_part(request: Request) -> AsyncGenerator[GenerationEvent]:
        assert request.progress
        yield GenerationEvent(request.id, prefilled=0.5)
        async for event in answer(request):
            yield event

    monkeypatch.setattr(engine, "astream", after_a_part)
    with (
        live(engine, Settings(keep_alive=0.05, grace=0.2)) as server,
        server.ask(CHAT_PATH, CHAT | {"stream": True}) as connection,
    ):
        assert b"data:" not in read_until(connection, b"50 % of the prompt read")
        engine.go_on()
        read_until(connection, b"[DONE]")


def test_a_reader_that_has_stopped_is_dropped() -> None:
    engine = ScriptedEngine(LONG, width=1)
    with live(engine, Settings(reader_seconds=0.3, grace=0.2)) as server:
        connection = server.ask(CHAT_PATH, CHAT | {"stream": True})
        wait_until(lambda: engine.stats().cancelled == 1)
        assert server.client.get("/health").status_code == 200
        connection.close()


def test_what_nobody_reads_is_soon_no_longer_made() -> None:
    """Of ordinary tokens, which are small; without a bound of its own a system's buffer takes some 15,000."""
    engine = ScriptedEngine(["word "] * 20_000, width=1)
    with live(engine) as server, server.ask(CHAT_PATH, CHAT | {"stream": True}):
        (run,) = wait_for_runs(server)
        wait_until(lambda: paused(server))
        (stream,) = run._streams
        assert isinstance(stream, ScriptedAsyncStream)
        assert 100 < stream.taken < 4000


def test_a_slow_reader_holds_the_stream_back() -> None:
    """What is not read is not made into bytes: the server takes no more from the engine than buffers hold."""
    engine = ScriptedEngine(LONG, width=1)
    with live(engine) as server, server.ask(CHAT_PATH, CHAT | {"stream": True}) as connection:
        (run,) = wait_for_runs(server)
        wait_until(lambda: paused(server))
        assert run.endings == [None]
        assert read_until(connection, b"[DONE]").count(b"word") == 400 * len(LONG)


def wait_for_runs(server: LiveServer) -> list[Run]:
    runs = server.app.state.pool.default.runs._running
    wait_until(lambda: runs)
    return list(runs)


def paused(server: LiveServer) -> bool:
    connections = server.server.server_state.connections
    return any(c.flow.write_paused for c in connections if isinstance(c, PatientProtocol))


def test_a_request_that_never_ends_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("specdec_server.serving.REQUEST_SECONDS", 0.2)
    with live(ScriptedEngine()) as server:
        for half in (
            b"POST /v1/chat",
            b"POST /v1/x HTTP/1.1\r\nHost: localhost\r\n",
            request(CHAT_PATH, CHAT)[:-5],
        ):
            with server.send(half) as connection:
                assert read_all(connection) == b""
        with server.connect() as silent:
            assert read_all(silent) == b""


def test_a_long_answer_is_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time for sending a request is over once it is there."""
    monkeypatch.setattr("specdec_server.serving.REQUEST_SECONDS", 0.1)
    engine = ScriptedEngine(hold=1)
    with live(engine) as server, server.ask(CHAT_PATH, CHAT | {"stream": True}) as connection:
        read_until(connection, b"Once")
        threading.Event().wait(0.3)
        engine.go_on()
        assert b"[DONE]" in read_until(connection, b"[DONE]")


def test_a_request_has_its_time_limit() -> None:
    engine = ScriptedEngine(hold=1)
    with live(engine, Settings(request_seconds=0.2, grace=0.2)) as server:
        whole = server.post(CHAT_PATH, CHAT)
        assert whole.status_code == 504 and whole.json()["error"]["code"] == "timeout"
        assert whole.headers["x-should-retry"] == "false"
        stream = server.post(CHAT_PATH, CHAT | {"stream": True})
        *_, error, done = [line.removeprefix("data: ") for line in stream.text.splitlines() if line]
        assert json.loads(error)["error"]["code"] == "timeout" and done == "[DONE]"
        assert engine.stats().active == 0
        engine.go_on()


def test_a_full_queue_refuses_at_once() -> None:
    engine = ScriptedEngine(hold=1)  # two slots
    with live(engine, Settings(queue=1, grace=0.2)) as server:
        waiting = [server.ask(CHAT_PATH, CHAT) for _ in range(3)]
        wait_until(lambda: engine.stats().active == 3)
        refused = server.post(CHAT_PATH, CHAT)
        assert refused.status_code == 429 and refused.json()["error"]["code"] == "queue_full"
        assert int(refused.headers["retry-after"]) >= 1
        engine.go_on()
        assert all(b"The end." in read_until(connection, b"metrics") for connection in waiting)
        assert server.post(CHAT_PATH, CHAT).status_code == 200
        for connection in waiting:
            connection.close()
