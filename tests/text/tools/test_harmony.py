"""Answers on channels: split in every way, cut anywhere, with marks as tokens and as text."""

from __future__ import annotations

import json
import random

import pytest

from specdec.text.tools.formats import HARMONY_MARKS
from specdec.text.tools.harmony import HarmonyParser
from specdec.types import Answer, Delta, Message

NEXT = "<|end|><|start|>assistant"
THOUGHT = f"<|channel|>analysis<|message|>Hm, <b> to=functions.x.{NEXT}"
CALL = '<|channel|>commentary to=functions.add.one <|constrain|>json<|message|>{"a": "}<|"}<|call|>'
ANSWERS = {
    "final": (f"{THOUGHT}<|channel|>final<|message|>Two <words>.<|return|>", "Two <words>.", True, False),
    "call": (THOUGHT + CALL, None, True, True),
    "recipient first": (' to=functions.add.one<|channel|>commentary json<|message|>{"a": "}<|"}', None, False, True),
    "lead": (f"<|channel|>commentary<|message|>Well.{NEXT}{CALL}", "Well.", False, True),
    "no head": ("tomorrow, <maybe>", "tomorrow, <maybe>", False, False),
}
IDS = {mark: 900 + i for i, mark in enumerate(HARMONY_MARKS)}


def _tokens(text: str, rng: random.Random, *, marked: bool) -> list[tuple[int, str]]:
    out: list[tuple[int, str]] = []
    while text:
        mark = next((mark for mark in HARMONY_MARKS if marked and text.startswith(mark)), None)
        if mark is not None:
            out.append((IDS[mark], ""))
            text = text.removeprefix(mark)
            continue
        ahead = [at for name in HARMONY_MARKS if marked and (at := text.find(name)) > 0]
        size = min([rng.choice([1, 2, 5]), *ahead])
        out.append((0, text[:size]))
        text = text[size:]
    return out


def _message(deltas: list[Delta]) -> Message:
    answer = Answer()
    for delta in deltas:
        answer.grow(delta)
    return answer.message


@pytest.mark.parametrize("marked", [True, False], ids=["tokens", "text"])
@pytest.mark.parametrize("name", ANSWERS)
def test_however_it_is_split(name: str, marked: bool) -> None:
    text, content, thinks, calls = ANSWERS[name]
    for seed in range(17):
        parser = HarmonyParser(IDS if marked else {}, calls=True)
        tokens = _tokens(text, random.Random(seed), marked=marked)
        deltas = [d for token, shown in tokens for d in parser.push(token, shown)]
        message = _message([*deltas, *parser.finish()])
        assert message.content == content
        assert message.reasoning == ("Hm, <b> to=functions.x." if thinks else None)
        called = [(call.name, json.loads(call.arguments)) for call in message.tool_calls]
        assert called == ([("add.one", {"a": "}<|"})] if calls else [])


@pytest.mark.parametrize("name", ANSWERS)
def test_a_cut_answer_shows_nothing_that_the_whole_one_does_not(name: str) -> None:
    text, content, *_ = ANSWERS[name]
    for end in range(len(text)):
        parser = HarmonyParser({}, calls=True)
        deltas = [d for letter in text[:end] for d in parser.push(0, letter)]
        message = _message([*deltas, *parser.finish(cut=True)])
        assert (content or "").startswith(message.content or "")
        assert [call.name for call in message.tool_calls] in ([], ["add.one"])


def test_without_tools_a_call_is_text() -> None:
    parser = HarmonyParser({}, calls=False)
    message = _message([*parser.push(0, CALL), *parser.finish()])
    assert (message.content, message.tool_calls) == ('{"a": "}<|"}', ())
