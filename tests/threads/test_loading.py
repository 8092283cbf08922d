"""Work in passing: its value, its error, and nothing of it left behind."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

import specdec
from specdec.threads.loading import in_thread
from tests.decoding.test_load import save_llama


def test_the_value_comes_back_and_the_thread_is_over() -> None:
    thread = in_thread(threading.current_thread)
    assert thread is not threading.current_thread()
    assert not thread.is_alive()


def test_an_error_is_the_callers() -> None:
    def fail() -> None:
        raise KeyError("lost")

    with pytest.raises(KeyError, match="lost"):
        in_thread(fail)


def test_a_model_is_loaded_in_thread(tmp_path: Path) -> None:
    """Else the caller's thread would keep helpers, and the worker's would sleep between two products."""
    seen: list[threading.Thread] = []
    with specdec.load(save_llama(tmp_path / "target", 1), progress=lambda *_: seen.append(threading.current_thread())):
        assert seen
        assert not any(thread is threading.current_thread() or thread.is_alive() for thread in seen)
