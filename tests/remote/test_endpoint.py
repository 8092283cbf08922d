"""Our own endpoint, for real: the contract over it, and it over another server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import specdec
from specdec.engine import Engine
from specdec.remote import RemoteEngine
from specdec.types import Grammar
from tests.engine_contract import OPTIONS, PROMPT, EngineContract
from tests.remote.scripted import ScriptedServer

TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@contextmanager
def endpoint(*words: str, **environment: str) -> Iterator[str]:
    command = [sys.executable, "-m", "specdec", "serve", "--port", "0", *words]
    server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment})
    try:
        assert server.stderr
        line = next(line for line in server.stderr if line.startswith("listening on "))
        yield line.split()[2]
    finally:
        server.send_signal(signal.SIGINT)
        server.communicate(timeout=60)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with endpoint() as url:
        yield url


class TestEndpoint(EngineContract):
    """Everything but rounds, which are told as totals."""

    @pytest.fixture
    def engine(self, url: str) -> Iterator[Engine]:
        with RemoteEngine(url) as engine:
            yield engine

    def test_counts_agree(self, engine: Engine) -> None:
        stats = engine.generate(PROMPT, **OPTIONS, speculative=4).stats
        assert stats.drafted >= stats.accepted
        assert stats.rounds > 0
        assert stats.drafters
        assert {d.drafter for d in stats.drafters} <= {"model", "lookup", "memory"}
        assert all(d.tested and d.tested[0] == d.drafted[0] for d in stats.drafters), "as the server counted"


def test_tools_grammars_and_predictions(url: str) -> None:
    with RemoteEngine(url) as engine:
        asked = [{"role": "user", "content": "What is the weather in Oslo?"}]
        answer = engine.generate(asked, tools=[TOOL], tool_choice="required", temperature=0.0)
        assert [c.name for c in answer.message.tool_calls] == ["weather"]
        choice = engine.generate(asked, grammar=Grammar.choice(["yes", "no"]), temperature=0.0)
        assert choice.text in ("yes", "no")
        assert engine.generate(PROMPT, **OPTIONS, prediction="Once upon a time").usage.completion_tokens == 12


def test_tokens_tell_their_own_bytes(url: str) -> None:
    text = "Hi 😊 é"
    options: dict[str, Any] = {"grammar": Grammar.choice([text]), "logprobs": 5, "temperature": 0.0}
    with RemoteEngine(url) as engine, specdec.load() as local:
        told, expected = (e.generate([{"role": "user", "content": "Hi"}], **options) for e in (engine, local))
    assert told.token_ids == expected.token_ids
    for one, other in zip(told.tokens, expected.tokens, strict=True):
        assert (one.text, one.bytes) == (other.text, other.bytes)
        assert [t.bytes for t in one.top_logprobs] == [t.bytes for t in other.top_logprobs]
    assert b"".join(token.bytes or b"" for token in told.tokens) == text.encode()
    assert b"\xf0" in [token.bytes for token in told.tokens]


def test_an_endpoint_over_a_server() -> None:
    """Its own key opens it, and goes nowhere."""
    with (
        ScriptedServer() as server,
        endpoint("--upstream", server.url, SPECDEC_API_KEY="ours") as url,
        RemoteEngine(url, api_key="ours") as engine,
    ):
        assert engine.generate(PROMPT, max_tokens=3).text == " w0 w1 w2"
        assert engine.info.context == 512
        assert engine.tokenize(PROMPT) == (5, 6, 7, 8, 9, 10, 11), "as the server behind it tells them"
        assert "authorization" not in server.seen[-1].headers
