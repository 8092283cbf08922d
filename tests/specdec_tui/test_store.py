"""Sessions on disk. A crash is a process that ended without closing."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from specdec.types import Message, ToolCall
from specdec_tui.core.chat import Chat
from specdec_tui.core.settings import Settings
from specdec_tui.core.store import Store

_CRASH = """
import os, sys
from pathlib import Path
from dataclasses import replace
from specdec.types import Message
from specdec_tui.core.chat import Chat
from specdec_tui.core.settings import Settings
from specdec_tui.core.store import Store
store = Store(Path(sys.argv[1]))
chat = Chat(Settings())
chat.save_in(store)
prompt = chat.say(Message("user", "Tell me."), None)
answer = chat.begin_answer(prompt.id)
chat.keep(replace(answer, message=Message("assistant", "half an answ")))
store.sessions()  # waits for the writes
os._exit(9)
"""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "sessions.db")
    yield store
    store.close()


def _chat(store: Store, *texts: str) -> Chat:
    chat = Chat(Settings())
    chat.save_in(store)
    for text in texts:
        chat.say(Message("user", text), chat.conversation.head)
    return chat


def test_a_chat_comes_back_as_it_was(store: Store) -> None:
    chat = _chat(store, "Find a fox.")
    answer = chat.begin_answer(1)
    call = ToolCall("c1", "find", '{"animal": "fox"}')
    message = Message("assistant", "I look.", tool_calls=(call,), reasoning="Hm.")
    chat.keep(type(answer)(answer.id, 1, message, "done", {"tokens": 4, "seed": 7}))
    chat.configure(Settings(system="Be brief.").with_text("temperature", "0.5"))
    saved = store.load(chat.id)
    assert saved is not None
    assert saved.conversation.path() == chat.conversation.path()
    assert Chat(Settings(), saved).settings == chat.settings


def test_nothing_is_saved_of_a_chat_without_turns(store: Store) -> None:
    _chat(store)
    assert store.sessions() == []


def test_search_finds_beginnings_of_words_in_turns_and_titles(store: Store) -> None:
    fox = _chat(store, "A story about foxes, please.", "And bells")
    _chat(store, "Explain rain.")
    assert [s.id for s in store.search("fox")] == [fox.id]
    assert "bells" in store.search("bell")[0].excerpt.lower()
    assert [s.title for s in store.search("explain rain")] == ["Explain rain."]
    assert store.search('"; DROP TABLE session; --') == []
    assert len(store.search("  ")) == 2


def test_rename_and_delete(store: Store) -> None:
    chat = _chat(store, "one")
    store.rename(chat.id, "Foxes")
    assert store.sessions()[0].title == "Foxes"
    store.delete(chat.id)
    assert store.sessions() == []
    assert store.search("one") == []
    assert store.load(chat.id) is None


def test_a_taken_back_turn_is_gone(store: Store) -> None:
    chat = _chat(store, "one")
    chat.take_back(chat.begin_answer(1))
    saved = store.load(chat.id)
    assert saved is not None
    assert [t.text for t in saved.conversation.path()] == ["one"]


def test_branches_are_kept_and_the_shown_one_too(store: Store) -> None:
    chat = _chat(store, "one")
    chat.say(Message("user", "other"), None)
    chat.show(1)
    saved = store.load(chat.id)
    assert saved is not None
    assert [t.text for t in saved.conversation.path()] == ["one"]
    assert len(saved.conversation) == 2


def test_presets_are_kept(store: Store) -> None:
    store.save_preset("mine", {"temperature": 0.3})
    assert store.presets() == {"mine": {"temperature": 0.3}}


def test_a_crash_in_mid_answer_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    ended = subprocess.run([sys.executable, "-c", _CRASH, str(path)], check=False)
    assert ended.returncode == 9
    store = Store(path)
    saved = store.load(store.sessions()[0].id)
    assert saved is not None
    assert [(t.text, t.state) for t in saved.conversation.path()] == [
        ("Tell me.", "done"), ("half an answ", "interrupted")
    ]  # fmt: skip
    assert store.search("answ")
    store.close()


def test_another_program_s_running_answer_is_left_alone(tmp_path: Path) -> None:
    """Its owner is alive: this test's parent process stands for it."""
    import os

    store = Store(tmp_path / "sessions.db")
    chat = _chat(store, "one")
    chat.begin_answer(1)
    store.sessions()
    with sqlite3.connect(tmp_path / "sessions.db") as connection:
        connection.execute("UPDATE turn SET owner = ? WHERE state = 'running'", (os.getppid(),))
    connection.close()
    other = Store(tmp_path / "sessions.db")
    saved = other.load(chat.id)
    assert saved is not None
    assert saved.conversation[2].state == "running"
    other.close()
    store.close()
