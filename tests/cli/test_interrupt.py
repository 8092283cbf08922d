"""Ctrl-C, in a process of its own: what came stays, one line says so, and no traceback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

HELD_BEFORE_THIRD_EVENT = """
import sys
from specdec.cli import main, screen
from tests.fakes import ScriptedEngine
engine = ScriptedEngine(hold=2)
class Reporting(type(engine)):
    def add(self, **counts):
        super().add(**counts)
        if counts.get("cancelled"):
            print("cancelled", file=sys.stderr, flush=True)
engine.__class__ = Reporting
screen.load_engine = lambda *_: engine
main()
"""
SHOWN = "Once upon a time"


@contextmanager
def started(*arguments: str, script: str = HELD_BEFORE_THIRD_EVENT) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def read_until(process: subprocess.Popen[str], text: str) -> str:
    assert process.stdout
    seen = ""
    while text not in seen:
        piece = process.stdout.read(1)
        assert piece, f"ended after {seen!r}"
        seen += piece
    return seen


def test_what_came_stays_and_the_request_is_cancelled() -> None:
    with started("generate", "Hello") as process:
        seen = read_until(process, SHOWN)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert seen + out == SHOWN + "\n"
    assert err == "cancelled\nstopped after 4 tokens\n"
    assert process.returncode == 130


def test_in_the_middle_of_a_comparison() -> None:
    with started("generate", "Hello", "--compare") as process:
        # the warm-up is held as well, so the first answer never starts
        read_until(process, "── plain")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert err.splitlines()[-1] == "stopped"
    assert "Traceback" not in err
    assert process.returncode == 130


@pytest.mark.parametrize("command", ["generate", "info", "verify", "bench"])
def test_while_loading(command: str) -> None:
    script = """
import threading
from specdec.cli import main, screen
def load(*_):
    print("loading", flush=True)
    threading.Event().wait()
screen.load_engine = load
main()
"""
    with started(command, script=script) as process:
        read_until(process, "loading")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert err.splitlines()[-1] == "stopped"
    assert "Traceback" not in err
    assert process.returncode == 130


def test_while_a_command_is_imported() -> None:
    script = """
from specdec import cli
def imported(_):
    raise KeyboardInterrupt
cli._function = imported
cli.main()
"""
    with started("info", script=script) as process:
        _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "stopped\n")


def test_while_torch_computes_for_a_model_that_is_loaded() -> None:
    script = """
import torch
from specdec.cli import main, screen
from specdec.threads.loading import in_thread
def work():
    print("loading", flush=True)
    x = torch.ones(64, 64)
    while True:
        torch.nn.functional.linear(x, x)
screen.load_engine = lambda *_: in_thread(work)
main()
"""
    with started("info", script=script) as process:
        read_until(process, "loading")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "stopped\n"), "no word of the C++ runtime"


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP])
def test_whoever_ends_a_training_lets_it_keep_what_was_learnt(how: signal.Signals) -> None:
    """A terminal that closes says so twice."""
    script = """
import sys, threading
from specdec.cli import main, train
def learn(*_, **__):
    try:
        print("learning", flush=True)
        threading.Event().wait()
    except KeyboardInterrupt:
        print("keeping", flush=True)
        sys.stdin.readline()
        print("kept", flush=True)
        raise
train.train_drafter = learn
main()
"""
    with started("train", "bundled", "--out", "unused", script=script) as process:
        read_until(process, "learning")
        process.send_signal(how)
        read_until(process, "keeping")
        process.send_signal(how)
        out, err = process.communicate("\n", timeout=30)
    assert (out.strip(), err) == ("kept", "stopped; the same command goes on\n")
    assert process.returncode == 130


def test_json_says_what_came() -> None:
    ready = HELD_BEFORE_THIRD_EVENT.replace(
        "main()",
        "engine.gate.wait = lambda wait=engine.gate.wait: print('#', file=sys.stderr, flush=True) or wait()\nmain()",
    )
    with started("generate", "Hello", "--json", script=ready) as process:
        assert process.stderr
        assert process.stderr.read(1) == "#"
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=30)
    assert json.loads(out) == {"text": SHOWN, "tokens": 4, "finish_reason": "cancelled"}
    assert process.returncode == 130
