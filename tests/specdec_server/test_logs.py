"""The log: one line a request, its figures, nothing that users wrote."""

from __future__ import annotations

import logging
import re

import pytest

from specdec_server import Settings
from specdec_server.logs import LineFormatter
from tests.fakes import SCRIPT, ScriptedEngine
from tests.specdec_server.client import CHAT, AppClient

SECRET = {"messages": [{"role": "user", "content": "xyzzy"}]}


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level("INFO", "specdec.server")
    return caplog


def facts(line: str) -> dict[str, str]:
    return dict(re.findall(r"(\w+)=(\S+)", line))


async def test_one_line_a_request(ask: AppClient, lines: pytest.LogCaptureFixture) -> None:
    response = await ask.post("/v1/chat/completions", SECRET | {"stream": True})
    (line,) = lines.messages
    found = facts(line)
    assert found["id"] == response.headers["x-request-id"] and found["status"] == "200"
    assert found["completion_tokens"] == str(len(SCRIPT)) and found["finish"] == "stop"
    assert {"seconds", "queued", "ttft", "tokens_per_second", "acceptance_length"} <= set(found)
    assert "xyzzy" not in line and "Once" not in line


async def test_refusals_have_their_line(ask: AppClient, lines: pytest.LogCaptureFixture) -> None:
    await ask.post("/v1/chat/completions", CHAT | {"n": 0})
    await ask.get("/v1/models", origin="https://evil.example")
    assert [facts(line)["status"] for line in lines.messages] == ["400", "403"]
    assert [facts(line)["error"] for line in lines.messages] == ["greater_than_equal", "origin"]


async def test_prompts_only_if_asked(engine: ScriptedEngine, lines: pytest.LogCaptureFixture) -> None:
    await AppClient(engine, Settings(log_prompts=True)).post("/v1/chat/completions", SECRET)
    assert "xyzzy" in lines.text


@pytest.mark.parametrize("traces", [False, True])
def test_traces_only_if_asked(traces: bool) -> None:
    try:
        raise RuntimeError("xyzzy")
    except RuntimeError as error:
        record = logging.LogRecord(
            "x", logging.ERROR, __file__, 1, "failed", (), (type(error), error, error.__traceback__)
        )
    text = LineFormatter(traces=traces).format(record)
    assert ("xyzzy" in text and "Traceback" in text) is traces
    assert "RuntimeError" in text and "test_logs.py" in text
