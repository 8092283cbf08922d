"""`specdec serve`: what it refuses before a model is loaded, what it listens to, how it stops."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import httpx
import pytest

from specdec.cli.keys import access_keys
from specdec.cli.named import named_models
from specdec.types import LoadOptions
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


@pytest.mark.parametrize("content", [b"", b"# none\n", b"a b c\n", b"\xff\xfe", b"ann a\nann b\n", "\u00e9".encode()])
def test_key_files_that_nobody_could_use(run: Run, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "keys").write_bytes(content)
    result = run("serve", "--api-key-file", str(tmp_path / "keys"))
    assert result.exit_code == 2 and "error: api-key" in result.output
    assert "a b" not in result.output
    assert "api-key-file" in run("serve", "--api-key-file", str(tmp_path / "none")).output


def test_keys_by_name(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("# who may call\nann s3cret\n0ther\n")
    assert access_keys(tmp_path / "keys") == {"ann": "s3cret", "3": "0ther"}
    assert access_keys(None) == {}


MODELS = """
[small]
target = "org/small"
[large]
target = "org/large"
draft = "org/small"
slots = 2
aliases = ["gpt-5"]
"""


def test_models_by_name(tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text(MODELS)
    found = named_models(["own=./folder"], tmp_path / "models.toml", LoadOptions(slots=7), most=2)
    assert [(model.name, model.aliases) for model in found] == [("own", ()), ("small", ()), ("large", ("gpt-5",))]
    options: list[LoadOptions] = [model.load.args[0] for model in found]  # type: ignore[attr-defined]
    assert [(o.target, o.draft, o.slots) for o in options] == [
        ("./folder", "auto", 7),
        ("org/small", "auto", 7),
        ("org/large", "org/small", 2),
    ]


def test_models_on_one_gpu_share_its_memory(tmp_path: Path) -> None:
    """As many as may be in memory at once, but those that say how much, or where else they are."""
    tables = {"a": "", "b": "", "c": "memory_share = 0.7", "d": "device = 'cuda:1'"}
    text = "\n".join(f"[{name}]\ntarget = '{name}'\n{more}" for name, more in tables.items())
    (tmp_path / "models.toml").write_text(text)
    for most, shares in ((1, [1, 1, 0.7, 1]), (2, [0.5, 0.5, 0.7, 1]), (4, [1 / 3, 1 / 3, 0.7, 1])):
        found = named_models([], tmp_path / "models.toml", LoadOptions(), most)
        options: list[LoadOptions] = [model.load.args[0] for model in found]  # type: ignore[attr-defined]
        assert [one.memory_share for one in options] == shares


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[a]\ntarget = 'x'\nslot = 2", "models.a is 'slot'; expected one of aliases, "),
        ("[a]\ndraft = 'x'", "a table with a target"),
        ("a = 1", "a table with a target"),
        ("[a]\ntarget = 'x'\nslots = 0", "models.a.slots is 0"),
        ("[a]\ntarget = 'x'\naliases = 'b'", "models.a.aliases is 'b'; expected a list of names"),
        ("[a", "expected a TOML file"),
        ("", "a table for each model"),
    ],
)
def test_files_of_models_are_checked(run: Run, tmp_path: Path, text: str, error: str) -> None:
    (tmp_path / "models.toml").write_text(text)
    result = run("serve", "--port", "0", "--models", str(tmp_path / "models.toml"))
    assert result.exit_code == 2 and error in result.output


def test_models_are_named_one_way(run: Run) -> None:
    assert "expected NAME=TARGET" in run("serve", "--port", "0", "--model", "org/small").output
    both = run("serve", "--port", "0", "--model", "a=bundled", "--target", "org/x")
    assert both.exit_code == 2 and "none beside --model" in both.output


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
