from __future__ import annotations

from specdec.types import Message
from specdec_tui.core.conversation import Conversation, title_of


def _talk() -> Conversation:
    talk = Conversation()
    prompt = talk.add(Message("user", "one"), None)
    talk.add(Message("assistant", "first"), prompt.id)
    return talk


def _texts(talk: Conversation) -> list[str]:
    return [t.text for t in talk.path()]


def test_turns_follow_each_other() -> None:
    talk = _talk()
    talk.add(Message("user", "two"), talk.head)
    assert _texts(talk) == ["one", "first", "two"]


def test_another_answer_stands_beside_the_first() -> None:
    talk = _talk()
    second = talk.add(Message("assistant", "second"), 1)
    assert _texts(talk) == ["one", "second"]
    assert talk.siblings(second.id) == [2, 3]
    assert [talk.beside(3, -1), talk.beside(3, 1), talk.beside(2, -1)] == [2, 3, 2]


def test_showing_a_branch_goes_to_its_latest_end() -> None:
    talk = _talk()
    talk.add(Message("user", "two"), 2)
    talk.add(Message("user", "other"), None)
    talk.show(1)
    assert _texts(talk) == ["one", "first", "two"]


def test_a_dropped_turn_leaves_the_one_before() -> None:
    talk = _talk()
    talk.drop(2)
    assert _texts(talk) == ["one"]
    assert talk.followers(1) == []


def test_the_last_of_a_role() -> None:
    talk = _talk()
    user, answer = talk.last("user"), talk.last("assistant")
    assert user and answer
    assert (user.text, answer.text, talk.last("tool")) == ("one", "first", None)


def test_a_head_that_is_not_there_shows_nothing() -> None:
    assert Conversation(_talk().path(), head=99).path() == []


def test_titles_are_short_lines() -> None:
    assert title_of("a\n b") == "a b"
    assert len(title_of("word " * 50)) == 60
