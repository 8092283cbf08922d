"""Sessions on disk. A crash is a process that ended without closing."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from specdec.types import ContentDelta, Message, ToolCall
from specdec_tui.core.chat import Chat
from specdec_tui.core.schema import _VERSIONS
from specdec_tui.core.settings import ChatSettings
from specdec_tui.core.store import Store

_CRASH = """
import os, sys
from pathlib import Path
from dataclasses import replace
from specdec.types import ContentDelta, Message, ReasoningDelta, ToolCallDelta
from specdec_tui.core.chat import Chat
from specdec_tui.core.settings import ChatSettings
from specdec_tui.core.store import Store
store = Store(Path(sys.argv[1]))
chat = Chat(ChatSettings())
chat.save_in(store)
prompt = chat.add(Message("user", "Tell me."), None)
answer = chat.begin_answer(prompt.id)
chat.grow(replace(answer, message=Message("assistant", "half "), figures={"tokens": 2}), [ContentDelta("half ")])
chat.grow(replace(answer, message=Message("assistant", "half an answ"), figures={"tokens": 4}), [
    ReasoningDelta("Hm."), ContentDelta("an "), ContentDelta("answ"), ToolCallDelta(0, "c1", "find", '{"a'),
    ToolCallDelta(0, arguments='": 1')
])
store.sessions()  # waits for the writes
os._exit(9)
"""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "sessions.db")
    yield store
    store.close()


def _chat(store: Store, *texts: str) -> Chat:
    chat = Chat(ChatSettings())
    chat.save_in(store)
    for text in texts:
        chat.add(Message("user", text), chat.conversation.head)
    return chat


def test_a_chat_comes_back_as_it_was(store: Store) -> None:
    chat = _chat(store, "Find a fox.")
    answer = chat.begin_answer(1)
    call = ToolCall("c1", "find", '{"animal": "fox"}')
    message = Message("assistant", "I look.", tool_calls=(call,), reasoning="Hm.")
    chat.keep(type(answer)(answer.id, 1, message, "done", {"tokens": 4, "seed": 7}))
    chat.configure(ChatSettings(system="Be brief.").with_text("temperature", "0.5"))
    saved = store.load(chat.id)
    assert saved is not None
    assert saved.conversation.path() == chat.conversation.path()
    assert Chat(ChatSettings(), saved).settings == chat.settings


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
    assert store.search("%") == store.search("x" * 60_000) == []


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
    chat.add(Message("user", "other"), None)
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
    answer = saved.conversation[2]
    assert (answer.message.reasoning, answer.figures) == ("Hm.", {"tokens": 4})
    assert answer.message.tool_calls == (ToolCall("c1", "find", '{"a": 1'),)
    assert store.search("answ")
    store.close()


def test_of_a_running_answer_only_what_is_new_is_written(store: Store) -> None:
    chat = _chat(store, "one")
    answer, pieces = chat.begin_answer(1), [f"{i:>9} " for i in range(50)]
    store.sessions()  # waits for the writes
    with closing(sqlite3.connect(store.path)) as connection:
        written: list[int] = []
        for i, piece in enumerate(pieces):
            message = Message("assistant", "".join(pieces[: i + 1]))
            chat.grow(replace(answer, message=message), [ContentDelta(piece)])
            store.sessions()
            rows = connection.execute("SELECT length(message) FROM turn UNION ALL SELECT length(deltas) FROM growth")
            written.append(sum(size for (size,) in rows))
        growth = {after - before for before, after in pairwise(written)}
        assert growth == {len(json.dumps([["content", pieces[0]]]))}
        whole = replace(answer, message=Message("assistant", "".join(pieces)), state="done")
        saved = store.load(chat.id)
        assert saved is not None
        assert saved.conversation[answer.id].message == whole.message
        chat.keep(whole)
        saved = store.load(chat.id)
        assert saved is not None
        assert saved.conversation[answer.id] == whole
        assert connection.execute("SELECT count(*) FROM growth").fetchone() == (0,)


def test_a_chat_that_is_saved_from_the_middle_of_an_answer_on(store: Store) -> None:
    chat = Chat(ChatSettings())
    prompt = chat.add(Message("user", "one"), None)
    answer = chat.begin_answer(prompt.id)
    chat.grow(replace(answer, message=Message("assistant", "a ")), [ContentDelta("a ")])
    chat.save_in(store)
    chat.grow(replace(answer, message=Message("assistant", "a b")), [ContentDelta("b")])
    saved = store.load(chat.id)
    assert saved is not None
    assert saved.conversation[answer.id].text == "a b"


def test_what_grew_of_an_answer_that_was_taken_back_is_gone(store: Store) -> None:
    chat = _chat(store, "one")
    answer = chat.begin_answer(1)
    chat.grow(answer, [ContentDelta("a")])
    chat.take_back(answer)
    store.grow(chat.id, answer, [ContentDelta("b")])
    store.sessions()
    with closing(sqlite3.connect(store.path)) as connection:
        assert connection.execute("SELECT count(*) FROM growth").fetchone() == (0,)


def test_sessions_of_an_earlier_version_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "sessions.db"
    with closing(sqlite3.connect(path)) as old:
        for statement in _VERSIONS[0].strip().split(";\n"):
            old.execute(statement)
        old.execute("INSERT INTO session (id, title, created, updated) VALUES ('s', 'Old', 1, 1)")
        old.execute(
            "INSERT INTO turn (session, id, role, message, state) VALUES ('s', 1, 'user', ?, 'done')",
            (json.dumps({"role": "user", "content": "Hello"}),),
        )
        old.execute("PRAGMA user_version = 1")
        old.commit()
    store = Store(path)
    saved = store.load("s")
    assert saved is not None
    assert [t.text for t in saved.conversation.path(1)] == ["Hello"]
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
