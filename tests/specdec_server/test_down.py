"""An engine whose process dies, loads again, or is stopped: 503 with Retry-After until it answers, and never a hang."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest

from specdec.process import ProcessEngine, child
from tests.process import factories
from tests.specdec_server.client import CHAT, error_of
from tests.specdec_server.live import LiveServer, live, read_until, wait_until

SHORT = CHAT | {"max_tokens": 4}
POSTS = {
    "/v1/chat/completions": SHORT,
    "/v1/completions": {"prompt": "a", "max_tokens": 4},
    "/v1/responses": {"input": "a"},
    "/v1/messages": SHORT,
    "/v1/messages/count_tokens": SHORT,
    "/v1/chat/completions/input_tokens": SHORT,
}


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """While it is missing the engine cannot load."""
    gate = tmp_path / "gate"
    gate.touch()
    return gate


@pytest.fixture
def engine(gate: Path) -> Iterator[ProcessEngine]:
    with ProcessEngine(partial(factories.gated, gate=gate)) as engine:
        yield engine


@pytest.fixture
def server(engine: ProcessEngine) -> Iterator[LiveServer]:
    with live(engine) as server:
        yield server


def refused(answer: httpx.Response) -> bool:
    if answer.status_code != 503 or answer.headers["retry-after"] != "5":
        return False
    if answer.request.url.path.startswith("/v1/messages"):
        return bool(answer.json()["error"]["type"] == "overloaded_error")
    return error_of(answer)["code"] in ("engine_unavailable", "engine_failed")


def all_refused(server: LiveServer) -> bool:
    answers = [server.post(path, body) for path, body in POSTS.items()]
    return all(map(refused, [*answers, server.client.get("/ready")]))


def test_one_that_dies_idle_is_refused_until_it_has_loaded(
    server: LiveServer, engine: ProcessEngine, gate: Path
) -> None:
    assert server.client.get("/ready").status_code == 200
    gate.unlink()
    first = engine.pid
    os.kill(first, signal.SIGKILL)
    assert refused(server.post("/v1/chat/completions", SHORT)), "before anyone has noticed"
    wait_until(lambda: all_refused(server) and engine.pid != first)
    for _ in range(5):  # it loads
        assert all_refused(server)
        assert "specdec_active 0.0" in server.client.get("/metrics").text
        assert server.client.get("/health").status_code == 200
    gate.touch()
    wait_until(lambda: server.client.get("/ready").status_code == 200)
    answer = server.post("/v1/chat/completions", SHORT)
    assert answer.json()["choices"][0]["message"]["content"] == "Once upon a time"
    assert "specdec_active 0.0" in server.client.get("/metrics").text


def test_one_that_is_stopped_is_refused_until_it_goes_on(
    server: LiveServer, engine: ProcessEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server.ask("/v1/chat/completions", CHAT | {"stream": True, "max_tokens": factories.HELD}) as running:
        read_until(running, b" upon")
        monkeypatch.setattr(child, "_QUIET", 2)
        os.kill(engine.pid, signal.SIGSTOP)
        assert refused(server.post("/v1/chat/completions", SHORT)), "before anyone has noticed"
        assert all_refused(server)
        assert "specdec_active 0.0" in server.client.get("/metrics").text
        os.kill(engine.pid, signal.SIGCONT)
        wait_until(lambda: server.client.get("/ready").status_code == 200)
        assert server.post("/v1/chat/completions", SHORT).status_code == 200
        wait_until(lambda: engine.stats().active == 1)  # what ran goes on; what was refused is cancelled


def test_one_that_stays_stopped_is_started_again(
    server: LiveServer, engine: ProcessEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with server.ask("/v1/chat/completions", CHAT | {"stream": True, "max_tokens": factories.HELD}) as running:
        read_until(running, b" upon")
        first = engine.pid
        os.kill(first, signal.SIGSTOP)
        with monkeypatch.context() as impatient:  # not with the next process, which a busy machine may keep waiting
            impatient.setattr(child, "_QUIET", 1)
            impatient.setattr(child, "_LOST", 2)
            assert b'"code":"engine_failed"' in read_until(running, b"[DONE]")
    wait_until(lambda: server.client.get("/ready").status_code == 200)
    assert engine.pid != first
    assert server.post("/v1/chat/completions", SHORT).status_code == 200
