"""Everything that can go wrong with a server, each in one line that names it and what to try."""

from __future__ import annotations

import asyncio
import re
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import specdec
from specdec.errors import (
    DeadlineExceeded,
    EngineBusy,
    EngineFailed,
    InvalidRequest,
    LoadError,
    PromptTooLong,
    SpecDecError,
)
from specdec.remote import RemoteEngine, client
from tests.engine_contract import eventually
from tests.remote.scripted import Answer, Chunk, Exchange, ScriptedServer

CHAT = [{"role": "user", "content": "Hi"}]


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "BACKOFF", 0.001)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer() as server:
        yield server


@pytest.fixture
def engine(server: ScriptedServer) -> Iterator[RemoteEngine]:
    with RemoteEngine(server.url, timeout=0.3) as engine:
        yield engine


def _replies(status: int, body: Any, **headers: str) -> Answer:
    async def answer(exchange: Exchange) -> None:
        await exchange.reply(status, body, **headers)

    return answer


def _word(text: str, **choice: Any) -> Chunk:
    return {"choices": [{"delta": {"content": text}, "token_ids": [1], **choice}]}


def _streams(*chunks: Chunk | str, then: Callable[[Exchange], Any] = Exchange.end) -> Answer:
    async def answer(exchange: Exchange) -> None:
        await exchange.begin()
        for chunk in chunks:
            await exchange.send(chunk)
        await then(exchange)

    return answer


def _fails(engine: RemoteEngine, kind: type[SpecDecError], words: str) -> SpecDecError:
    with pytest.raises(kind, match=words) as caught:
        engine.generate(CHAT, max_tokens=4)
    assert "\n" not in str(caught.value)
    eventually(lambda: engine.stats().active == 0)
    return caught.value


# ---- connecting


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def test_unreachable() -> None:
    with pytest.raises(LoadError, match=r"http://127\.0\.0\.1:\d+/v1 cannot be reached .*is the server running"):
        specdec.load(f"http://127.0.0.1:{_free_port()}/v1")


def test_wrong_path(server: ScriptedServer) -> None:
    root = server.url.removesuffix("/v1")
    with pytest.raises(LoadError, match=rf"answers 404; the base URL of most servers ends in /v1: {root}/v1$"):
        specdec.load(root)


def test_wrong_model(server: ScriptedServer) -> None:
    with pytest.raises(InvalidRequest, match=r"model is 'other'; expected one that http.* has: story"):
        specdec.load(f"{server.url}#other")


def test_several_models(server: ScriptedServer) -> None:
    server.models = [{"id": name, "owned_by": "vllm"} for name in ("a", "b")]
    with pytest.raises(InvalidRequest, match=r"such as http.*/v1#a; it has a, b"):
        specdec.load(server.url)
    with specdec.load(f"{server.url}#b") as engine:
        assert engine.info.target == "b"


def test_no_models(server: ScriptedServer) -> None:
    server.models = []
    with pytest.raises(LoadError, match="is no list of models"):
        specdec.load(server.url)


def test_something_else_than_http() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def speak() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

        thread = threading.Thread(target=speak)
        thread.start()
        with pytest.raises(LoadError, match="broke the connection"):
            specdec.load(f"http://127.0.0.1:{listener.getsockname()[1]}/v1")
        thread.join()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("http://", "target is 'http://'; expected a base URL such as"),
        ("http://me:secret@host/v1", r"a URL without user and password; pass api_key"),
        ("http://host:999999/v1", "expected a base URL such as"),
        ("http://host/v1?x=1", "expected a base URL such as"),
    ],
)
def test_wrong_urls(url: str, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words) as caught:
        specdec.load(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"device": "cuda"}, "device is 'cuda'; expected 'auto' beside a URL"),
        ({"dtype": "float16"}, "dtype is 'float16'; expected 'auto' beside a URL"),
        ({"accept_rule": "rejection"}, "accept_rule is"),
        ({"trust_remote_code": True}, "trust_remote_code is"),
        (
            {"draft": "lookup"},
            "draft is 'lookup'; expected 'auto': vLLM at http.* does not speculate; specdec cluster",
        ),
    ],
)
def test_what_the_server_decides(server: ScriptedServer, options: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        specdec.load(server.url, **options)


def test_a_draft_that_is_there(server: ScriptedServer) -> None:
    server.speculates = True
    with specdec.load(server.url, "lookup") as engine:
        assert engine.info.speculation_unavailable is None
    with pytest.raises(InvalidRequest, match=r"draft is 'none'; expected 'auto': vLLM at http.* speculates"):
        specdec.load(server.url, "none")


# ---- keys


def test_keys(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPECDEC_API_KEY", "from-env")
    for options, key in (({}, "from-env"), ({"api_key": "given"}, "given")):
        with specdec.load(server.url, **options) as engine:  # type: ignore[arg-type]
            engine.generate(CHAT, max_tokens=2)
        assert server.seen[-1].headers["authorization"] == f"Bearer {key}"
    with specdec.load(server.url, api_key="") as engine:
        engine.generate(CHAT, max_tokens=2)
    assert "authorization" not in server.seen[-1].headers
    with pytest.raises(InvalidRequest, match="api_key is"):
        specdec.load("bundled", api_key="given")


def test_refused_keys(server: ScriptedServer, engine: RemoteEngine) -> None:
    server.answers.append(_replies(401, {"error": "Unauthorized"}))
    _fails(engine, EngineFailed, r"answers 401: .*Unauthorized.*; pass api_key= or set SPECDEC_API_KEY")


# ---- refusals


def test_a_refused_value_is_named(server: ScriptedServer, engine: RemoteEngine) -> None:
    error = {
        "message": "max_tokens=5000 cannot be greater",
        "type": "BadRequestError",
        "param": "max_tokens",
        "code": 400,
    }
    server.answers.append(_replies(400, {"error": error}))
    caught = _fails(
        engine, InvalidRequest, "max_tokens is 4; expected what http.* takes; it says: max_tokens=5000 cannot"
    )
    assert isinstance(caught, InvalidRequest)
    assert caught.field == "max_tokens"


def test_refusals_come_from_the_call(server: ScriptedServer, engine: RemoteEngine) -> None:
    server.answers.append(_replies(400, {"error": {"message": "no", "param": None}}))
    with pytest.raises(InvalidRequest, match="request is None; expected what"):
        engine.stream(CHAT)


async def test_async_refusals_come_first(server: ScriptedServer, engine: RemoteEngine) -> None:
    server.answers.append(_replies(400, {"error": {"message": "no"}}))
    events = engine.astream(CHAT)
    with pytest.raises(InvalidRequest):
        await events.admitted()


@pytest.mark.parametrize(
    "error",
    [
        {"message": "too much", "param": "prompt", "code": "context_length_exceeded"},
        {
            "message": "You passed 9 tokens, but the maximum context length is 8",
            "param": "input_tokens",
            "code": 400,
        },
        {"message": "request (9 tokens) exceeds the available context size (8 tokens), try increasing it"},
    ],
)
def test_a_prompt_that_is_too_long(server: ScriptedServer, engine: RemoteEngine, error: dict[str, Any]) -> None:
    server.answers.append(_replies(400, {"error": error}))
    _fails(engine, PromptTooLong, f"prompt is too long; expected what .*{re.escape(error['message'])}")


def test_a_model_that_is_gone(server: ScriptedServer, engine: RemoteEngine) -> None:
    server.answers.append(_replies(404, {"error": {"message": "The model `story` does not exist."}}))
    _fails(engine, EngineFailed, "answers 404 for model 'story': The model `story` does not exist")


def test_busy_servers_are_waited_for(server: ScriptedServer, engine: RemoteEngine) -> None:
    server.answers.extend([_replies(429, {"error": {"message": "slow down"}}, retry_after="0")] * 2)
    assert len(engine.generate(CHAT, max_tokens=4).tokens) == 4
    assert len(server.seen) == 3


def test_busy_for_too_long(server: ScriptedServer, engine: RemoteEngine) -> None:
    server.answers.append(_replies(429, {"error": {"message": "slow down"}}, retry_after="3600"))
    _fails(engine, EngineBusy, "answers 429: slow down; it asks to wait 3600 s")
    server.answers.extend([_replies(503, b"overloaded", content_type="text/plain")] * 3)
    _fails(engine, EngineBusy, "answers 503: overloaded; try again later")


def test_a_server_that_fails(server: ScriptedServer, engine: RemoteEngine) -> None:
    server.answers.append(_replies(500, b"<html>Internal\n Server Error</html>", content_type="text/html"))
    _fails(engine, EngineFailed, "answers 500: <html>Internal Server Error</html>; see the server's own log")
    assert len(server.seen) == 1


def test_an_answer_that_is_no_stream(server: ScriptedServer, engine: RemoteEngine) -> None:
    server.answers.append(_replies(200, b"<html>", content_type="text/html"))
    _fails(engine, EngineFailed, "answers with text/html, not with a stream of events")
    server.answers.append(_replies(200, {"error": {"message": "out of memory"}}))
    _fails(engine, EngineFailed, "ended the answer with an error: out of memory")


# ---- inside a stream


def test_an_error_inside_a_200(server: ScriptedServer, engine: RemoteEngine) -> None:
    error = {"error": {"message": "EngineCore died", "type": "InternalServerError", "code": 500}}
    server.answers.append(_streams(_word("a"), error, "[DONE]"))
    _fails(engine, EngineFailed, "ended the answer with an error: EngineCore died")
    refusal = {"error": {"message": "no min_p here", "type": "BadRequestError", "param": None, "code": 400}}
    server.answers.append(_streams(refusal, "[DONE]"))
    _fails(engine, InvalidRequest, "it says: no min_p here")


def test_not_a_chunk(server: ScriptedServer, engine: RemoteEngine) -> None:
    server.answers.append(_streams("nonsense"))
    _fails(engine, EngineFailed, "sent an event that is no chunk of an answer: 'nonsense'")


def test_a_cut_connection(server: ScriptedServer, engine: RemoteEngine) -> None:
    server.answers.append(_streams(_word("a"), _word("b"), then=Exchange.cut))
    _fails(engine, EngineFailed, "broke the connection after 2 tokens .*; see the server's own log")
    server.answers.append(_streams({"choices": [{"delta": {"content": "Yes."}}]}, then=Exchange.cut))
    _fails(engine, EngineFailed, "broke the connection after 4 characters")
    server.answers.append(_streams(_word("a")))
    _fails(engine, EngineFailed, "ended the stream before the answer, after 1 tokens")
    assert len(server.seen) == 3, "what was delivered is not asked for again"


def test_a_stream_that_stays_open_behind_its_end(
    server: ScriptedServer, engine: RemoteEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "END", 0.01)
    last = _word("b", finish_reason="stop")
    server.answers.append(_streams(_word("a"), last, "[DONE]", then=lambda exchange: exchange.writer.wait_closed()))
    assert engine.generate(CHAT).text == "ab"


def test_what_was_not_delivered_is_asked_again(server: ScriptedServer, engine: RemoteEngine) -> None:
    server.answers.extend([Exchange.cut, _streams(then=Exchange.cut)])
    assert len(engine.generate(CHAT, max_tokens=4).tokens) == 4
    server.answers.extend([Exchange.cut] * 3)
    _fails(engine, EngineFailed, "broke the connection after 0 tokens")


def test_a_stall(server: ScriptedServer, engine: RemoteEngine) -> None:
    async def stall(exchange: Exchange) -> None:
        await asyncio.Event().wait()

    server.answers.append(_streams(_word("a"), then=stall))
    _fails(engine, EngineFailed, "went silent after 1 tokens, for longer than the timeout allows")
    eventually(lambda: server.left == 1)


def test_a_deadline(server: ScriptedServer, engine: RemoteEngine) -> None:
    with pytest.raises(DeadlineExceeded, match=r"timeout is 0\.1 s; expected more: the request had \d+ tokens by then"):
        engine.generate(CHAT, max_tokens=100_000, timeout=0.1)
    eventually(lambda: server.left == 1 and engine.stats().active == 0)


def test_a_server_that_goes_away(server: ScriptedServer) -> None:
    with ScriptedServer() as gone:
        engine = RemoteEngine(gone.url)
    with engine:
        _fails(engine, EngineFailed, "cannot be reached .*is the server running")


def test_no_done_is_no_harm(server: ScriptedServer, engine: RemoteEngine) -> None:
    server.answers.append(_streams(_word("a", finish_reason="stop")))
    assert engine.generate(CHAT).text == "a"


# ---- leaving


def test_leaving_closes_the_connection(server: ScriptedServer, engine: RemoteEngine) -> None:
    events = engine.stream(CHAT, max_tokens=10_000)
    next(events)
    events.close()
    eventually(lambda: server.left == 1)


def test_finished_streams_share_a_connection(server: ScriptedServer, engine: RemoteEngine) -> None:
    for _ in range(5):
        engine.generate(CHAT, max_tokens=3)
    assert server.connections == 1


def test_dropped_engines_leave_no_connection(server: ScriptedServer) -> None:
    with RemoteEngine(server.url) as engine:
        engine.stream(CHAT, max_tokens=10_000)
    eventually(lambda: server.connections == 0)
