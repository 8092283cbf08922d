"""Calls that start with a head: half of one, marks as tokens and as text, and what is no call after all."""

from __future__ import annotations

import copy
import json
import random

import pytest

from specdec.text.tools.formats import TOOL_FORMATS, AnswerFormat, inner_texts
from specdec.types import Delta
from tests.text.tools.written import CALLS, HEADED, WRITTEN, cut, glm, marks_in, message_of, parser


@pytest.mark.parametrize("family", HEADED)
def test_half_an_answer(family: str) -> None:
    """What streams of a call is a prefix of it, names never change, and a cut shows no mark."""
    reading, deltas = parser(family, {}), list[Delta]()
    for letter in f"Wait. {WRITTEN[family]}":
        for over in (True, False):
            message = message_of([*deltas, *copy.deepcopy(reading).finish(cut=over)])
            for call, (name, arguments) in zip(message.tool_calls, CALLS, strict=False):
                assert call.name == name
                assert json.dumps(arguments, ensure_ascii=False).startswith(call.arguments)
            assert not over or "Wait.".startswith((message.content or "").rstrip())
        deltas += reading.push(0, letter)


def test_texts_stream_and_look_alikes_of_tokens_are_text() -> None:
    """A model that writes a mark's letters, not its token, means the letters."""
    ids = {mark: 900 + i for i, mark in enumerate(marks_in(glm("say", {"text": ""}, "\n")))}
    said = "to end write </arg_value> or </tool_call>, " * 3
    reading = parser("glm", ids)
    start, end = "<tool_call>say\n<arg_key>text</arg_key>\n<arg_value>", "</arg_value>\n</tool_call>"
    tokens = [*cut(start, random.Random(0), ids), *((0, said[i : i + 5]) for i in range(0, len(said), 5))]
    deltas = [d for token, shown in (*tokens, *cut(end, random.Random(0), ids)) for d in reading.push(token, shown)]
    assert len(deltas) > 12
    assert json.loads(message_of(deltas).tool_calls[0].arguments) == {"text": said}


def test_ids_are_the_models_own_where_it_writes_them() -> None:
    wanted = {"kimi": ["functions.add:0", "functions.say:1", "functions.sub:2"],
              "mistral_ids": ["abcdEFG10", "abcdEFG11", "abcdEFG12"]}  # fmt: skip
    for family, expected in wanted.items():
        message = message_of(parser(family, {}).push(0, WRITTEN[family]))
        assert [call.id for call in message.tool_calls] == expected


@pytest.mark.parametrize("family", HEADED)
def test_what_is_no_call_comes_out_as_content(family: str) -> None:
    form = TOOL_FORMATS[family]
    reading = parser(family, {})
    message = message_of([*reading.push(0, f"{form.begin}oh {form.end}so"), *reading.finish()])
    assert not message.tool_calls or family.startswith("glm"), "a name alone is a call there"
    assert "so" in (message.content or "so")


def test_marks_within_calls_are_known() -> None:
    added = {"[TOOL_CALLS]": 9, "[ARGS]": 10, "[INST]": 3, ">": 4}
    assert AnswerFormat.of("mistral_args", "", added).ids == {"[TOOL_CALLS]": 9, "[ARGS]": 10}
    assert inner_texts(TOOL_FORMATS["hermes"]) == ()
