"""`specdec serve`: what it refuses before a model is loaded, what it listens to, how it stops."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import httpx
import pytest

from tests.cli.conftest import Run
from tests.specdec_server.bundled import bundled_server


@pytest.fixture(autouse=True)
def no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SPECDEC_API_KEY", raising=False)


def test_help_teaches(run: Run) -> None:
    text = run("serve", "--help").output
    for word in ("curl", "openai.OpenAI(", "--allow-host", "SPECDEC_API_KEY", "Ctrl-C"):
        assert word in text


def test_a_port_in_use(run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = run("serve", "--port", str(port))
    assert result.exit_code == 2
    assert f"error: --port is {port}; expected a port that nothing listens on" in result.output


@pytest.mark.parametrize("port", ["-1", "65536", "99999", "http"])
def test_no_port_at_all(run: Run, port: str) -> None:
    assert run("serve", "--port", port).exit_code == 2


@pytest.mark.parametrize("host", ["no.such.host.invalid", "203.0.113.7"])
def test_a_host_that_is_not_ours(run: Run, host: str) -> None:
    result = run("serve", "--host", host, "--allow-anyone")
    assert result.exit_code == 2 and f"error: --host is '{host}'; expected an address of this machine" in result.output


def test_beyond_this_machine_only_with_a_key(run: Run) -> None:
    result = run("serve", "--host", "0.0.0.0")
    assert result.exit_code == 2 and "--allow-anyone" in result.output


def test_key_files(run: Run, tmp_path: Path) -> None:
    for name, content in (("empty", b""), ("two", b"a b"), ("binary", b"\xff\xfe"), ("lines", b"a\nb\n")):
        (tmp_path / name).write_bytes(content)
        result = run("serve", "--api-key-file", str(tmp_path / name))
        assert result.exit_code == 2 and "error: api-key" in result.output
        assert "a b" not in result.output
    assert "api-key-file" in run("serve", "--api-key-file", str(tmp_path / "none")).output


@pytest.mark.parametrize(
    "wrong", [("--queue", "-1"), ("--grace", "-1"), ("--request-timeout", "0"), ("--allow-origin", "*")]
)
def test_settings_are_checked(run: Run, wrong: tuple[str, str]) -> None:
    result = run("serve", *wrong)
    assert result.exit_code == 2 and "error: " in result.output


def test_serves_until_told_to_stop() -> None:
    """In the middle of a stream, which ends as it would have."""
    asked = {"messages": [{"role": "user", "content": "Tell me a story."}], "max_tokens": 40, "stream": True}
    with (
        bundled_server("--slots", "1", "--strict") as server,  # which sends the signal, and wants exit code 0
        httpx.stream("POST", f"{server.base}/chat/completions", json=asked, timeout=60) as stream,
    ):
        lines = stream.iter_lines()
        assert '"role":"assistant"' in next(lines)
        assert httpx.post(f"{server.base}/chat/completions", json=asked | {"verbosity": "low"}).status_code == 400
        server.process.send_signal(signal.SIGTERM)
        assert [line for line in lines if line][-1] == "data: [DONE]"
