"""The message of an answer does not depend on how its text is cut into tokens, nor on which tokens come at once."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

import pytest

from specdec.text.tools.formats import HARMONY_MARKS, TOOL_FORMATS, inner_texts
from specdec.types import Delta, Message, ToolCallDelta, merged
from tests.text.tools.written import WRITTEN, Token, check, cut, marks_in, message_of, parser, told, whole


def _events(tokens: Sequence[Token], rng: random.Random, most: int) -> list[Sequence[Token]]:
    """As rounds of 1 to `most` + 1 tokens bring them."""
    out, at = [], 0
    while at < len(tokens):
        size = rng.randint(1, most + 1)
        out.append(tokens[at : at + size])
        at += size
    return out


def _read(family: str, ids: Mapping[str, int], events: Sequence[Sequence[Token]], *, over: bool = False) -> list[Delta]:
    """What each event comes to, and the end."""
    reading = parser(family, ids)
    parts = [[delta for token, shown in event for delta in reading.push(token, shown)] for event in events]
    return [delta for part in (*parts, reading.finish(cut=over)) for delta in merged(part)]


def test_every_format_is_here() -> None:
    assert set(WRITTEN) == set(TOOL_FORMATS)


@pytest.mark.parametrize("marked", [True, False], ids=["tokens", "text"])
@pytest.mark.parametrize("family", WRITTEN)
def test_an_answer_however_it_is_split(family: str, marked: bool) -> None:
    """For draft lengths from none to 16, and for all of it at once: where thinking ends, and calls are made."""
    text = whole(family)
    ids = {mark: 900 + i for i, mark in enumerate(marks_in(text))} if marked else {}
    for most in (*range(17), len(text)):
        rng = random.Random(most)
        deltas = _read(family, ids, _events(cut(text, rng, ids), rng, most))
        message = message_of(deltas)
        check(family, message)
        firsts = [delta.index for delta in deltas if isinstance(delta, ToolCallDelta) and delta.id]
        assert firsts == list(range(len(message.tool_calls)))


def _parts(family: str) -> list[str]:
    """What a family's answers are made of, and what they are not."""
    form = TOOL_FORMATS[family]
    own = (*marks_in(whole(family)), form.begin, form.end, form.before, form.between, form.after, *inner_texts(form))
    words = ("add", "c", "12", '{"a": 1}', '{"name": "add", "arguments": {"a": 1}}', "thought\n", "to=functions.add")
    return [part for part in (*own, *words, *'"{}[]\\n <\\é', "</", ":", ",") if part]


def _of_anything(family: str, ids: Mapping[str, int], rng: random.Random, parts: Sequence[str]) -> None:
    text = "".join(rng.choice(parts) for _ in range(rng.randrange(1, 14)))
    over = rng.random() < 0.3
    split = cut(text, random.Random(0), ids)
    pieces = [(token, shown) for token, shown in split]
    joined: list[Token] = []
    for token, shown in pieces:  # the fewest tokens that there can be
        if joined and shown and joined[-1][1]:
            joined[-1] = (0, joined[-1][1] + shown)
        else:
            joined.append((token, shown))
    expected = told(_message(family, ids, [joined], over))
    for most in (1, 4, 16):
        events = _events(cut(text, rng, ids), rng, most)
        assert told(_message(family, ids, events, over)) == expected, (text, events)


def _message(family: str, ids: Mapping[str, int], events: Sequence[Sequence[Token]], over: bool) -> Message:
    return message_of(_read(family, ids, events, over=over))


@pytest.mark.parametrize("marked", [True, False], ids=["tokens", "text"])
@pytest.mark.parametrize("family", WRITTEN)
@pytest.mark.parametrize(
    "seeds", [range(60), pytest.param(range(60, 1500), marks=pytest.mark.slow)], ids=["some", "many"]
)
def test_anything_however_it_is_split(family: str, marked: bool, seeds: range) -> None:
    """Marks, halves of them, names and values in any order: no model's answer is refused, so all must be read alike."""
    ids = {mark: 900 + i for i, mark in enumerate(marks_in(whole(family)))} if marked else {}
    parts = _parts(family)
    assert HARMONY_MARKS[1] in parts or family != "harmony"
    for seed in seeds:
        _of_anything(family, ids, random.Random(seed), parts)
