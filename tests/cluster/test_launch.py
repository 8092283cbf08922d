"""Nodes are started, waited for, watched and stopped: a process stands in for vLLM."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from specdec.remote import RemoteEngine
from tests.engine_contract import eventually

ROOT = Path(__file__).parents[2]
Launch = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def launch(port: int, log: Path) -> Iterator[Launch]:
    started: list[subprocess.Popen[str]] = []

    def start(
        *words: str, vllm: str = f"{sys.executable} -m tests.cluster.fake_vllm", **env: str
    ) -> subprocess.Popen[str]:
        command = [
            sys.executable,
            "-m",
            "specdec",
            "cluster",
            "launch",
            "--target",
            "m",
            "--port",
            str(port),
            *words,
        ]
        process = subprocess.Popen(
            [*command, "--vllm", vllm],
            cwd=ROOT,
            text=True,
            stderr=subprocess.PIPE,
            env={**os.environ, "FAKE_LOG": str(log), **env},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.send_signal(signal.SIGTERM)  # it stops its nodes, who hold its standard error too
        process.communicate(timeout=60)


def _lines(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


def _until(process: subprocess.Popen[str], words: str) -> None:
    assert process.stderr
    for line in process.stderr:
        if words in line:
            return
    raise AssertionError(f"it ended before it said {words!r}")


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_two_nodes_start_answer_and_stop(launch: Launch, port: int, log: Path, how: signal.Signals) -> None:
    process = launch("--tensor", "2", "--nodes", "2")
    _until(process, f"ready: http://127.0.0.1:{port}/v1")
    with RemoteEngine(f"http://127.0.0.1:{port}/v1") as engine:
        assert engine.generate("Once", max_tokens=3).text == " w0 w1 w2"
    process.send_signal(how)
    assert process.wait(20) == 130
    assert sorted(_lines(log)[:2]) == ["started 0", "started 1"]
    assert _lines(log)[2:] == ["stopped 0", "stopped 1"]


def test_a_node_that_ends_ends_all(launch: Launch, log: Path) -> None:
    process = launch("--tensor", "2", "--nodes", "2", FAKE_FAIL="1")
    _, said = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "node 1 ended with exit code 7; its own output above says why" in said
    assert "stopped 0" in _lines(log)


def test_one_node_of_several(launch: Launch, log: Path) -> None:
    process = launch("--tensor", "2", "--nodes", "2", "--head", "10.0.0.1", "--rank", "1")
    eventually(lambda: _lines(log) == ["started 1"])
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
    assert _lines(log) == ["started 1", "stopped 1"]


def test_no_vllm(launch: Launch) -> None:
    process = launch(vllm="no-such-program")
    _, said = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "no-such-program cannot be started (No such file or directory); install vLLM, or say where it is" in said


def test_too_slow(launch: Launch, log: Path) -> None:
    process = launch("--patience", "0.01")
    _, said = process.communicate(timeout=30)
    assert process.returncode == 2
    assert "after 0.01 s; a larger --patience waits longer" in said
    assert _lines(log)[-1:] in ([], ["stopped 0"], ["started 0"])
