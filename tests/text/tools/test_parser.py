"""Answers of each family, cut into tokens in every way: the same message comes out, and half of one never fails."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from specdec.text.tools.formats import TOOL_FORMATS, AnswerFormat
from specdec.text.tools.parser import AnswerParser
from specdec.types import Answer, ContentDelta, Delta, Message, ToolCallDelta

THINK = ("<think>", "</think>")


def joined(deltas: Iterable[Delta]) -> Message:
    answer = Answer()
    for delta in deltas:
        answer.grow(delta)
    return answer.message


ONE = '{"name": "add", "arguments": {"a": 1, "b": [2, {"c": "}\\"{"}]}}'
TWO = '{"name": "sub", "arguments": {}}'
CALLED = [("add", {"a": 1, "b": [2, {"c": '}"{'}]}), ("sub", {})]
LLAMA = ONE.replace('"arguments"', '"parameters"')
Case = tuple[str, str, str | None, str | None, list[tuple[str, dict[str, Any]]]]
CASES: list[Case] = [
    ("hermes", "Just text.\n", "Just text.\n", None, []),
    ("hermes", "  a < b {x} ", "  a < b {x} ", None, []),
    ("hermes", f"<tool_call>\n{ONE}\n</tool_call>", None, None, CALLED[:1]),
    ("hermes", f"Wait.\n\n<tool_call>\n{ONE}\n</tool_call>\n<tool_call>\n{TWO}\n</tool_call>\n", "Wait.", None, CALLED),
    ("hermes", f"<tool_call>{TWO}</tool_call>so", "so", None, CALLED[1:]),
    ("hermes", '<tool_call>{"arguments": {}, "id": 4, "name":"sub"}</tool_call>', None, None, CALLED[1:]),
    ("hermes", '<tool_call>{"name": "sub", "arguments": "{}"}</tool_call>', None, None, CALLED[1:]),
    ("hermes", '<tool_call>\n{"x": 1}\n</tool_call>', '{"x": 1}', None, []),
    ("hermes", "<tool_call>\nno\n</tool_call> yes", "yes", None, []),
    ("hermes", "<think>\nHm, <b>.\n</think>\n\nYes.", "Yes.", "Hm, <b>.", []),
    ("hermes", '<think>\nHm</think>\ufffd\n{"x": 1}', '{"x": 1}', "Hm", []),  # cut within a character, by its budget
    ("hermes", f"<think>\nHm\n</think>\n\n<tool_call>\n{TWO}\n</tool_call>", None, "Hm", CALLED[1:]),
    ("hermes", "<think>never ends", "", "never ends", []),
    ("llama3", f"\n{LLAMA}", None, None, CALLED[:1]),
    ("llama3", f"<|python_tag|>{LLAMA}", None, None, CALLED[:1]),
    ("llama3", "A set is {1}.", "A set is {1}.", None, []),
    ("llama3", '{"x": 1}', '{"x": 1}', None, []),
    ("mistral", f"[TOOL_CALLS] [{ONE}, {TWO}]", None, None, CALLED),
    ("mistral", f"Wait. [TOOL_CALLS][{TWO}]", "Wait.", None, CALLED[1:]),
    ("mistral", "a[0] [TOO", "a[0] [TOO", None, []),
]  # fmt: skip


def _read(parser: AnswerParser, tokens: Sequence[str]) -> list[Delta]:
    return [d for i, token in enumerate(tokens) for d in parser.push(i, token)] + parser.finish()


def _cut(text: str, seed: int) -> list[str]:
    """One letter a token, or some at random."""
    if seed == 0:
        return list(text)
    at = sorted(random.Random(seed).sample(range(len(text)), min(seed, len(text))))
    return [text[i:j] for i, j in zip([0, *at], [*at, len(text)], strict=True)]


def _calls(message: Message) -> list[tuple[str, dict[str, Any]]]:
    return [(call.name, json.loads(call.arguments)) for call in message.tool_calls]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}: {case[1][:30]!r}")
@pytest.mark.parametrize("seed", [0, 1, 2, 5, 9])
def test_however_it_is_cut(case: Case, seed: int) -> None:
    family, text, content, reasoning, calls = case
    parser = AnswerParser(AnswerFormat(TOOL_FORMATS[family], THINK), calls=True, thoughts=True)
    message = joined(_read(parser, _cut(text, seed)))
    assert (message.content, message.reasoning) == (content, reasoning)
    assert _calls(message) == calls
    assert all(len(call.id) == (9 if family == "mistral" else 29) for call in message.tool_calls)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}: {case[1][:30]!r}")
def test_half_an_answer(case: Case) -> None:
    """What streams of a call is a prefix of it, and names never change."""
    family, text, *_, calls = case
    for end in range(len(text)):
        parser = AnswerParser(AnswerFormat(TOOL_FORMATS[family], THINK), calls=True, thoughts=True)
        deltas = _read(parser, list(text[:end]))
        message = joined(deltas)
        assert [call.name for call in message.tool_calls] == [n for n, _ in calls[: len(message.tool_calls)]]
        firsts = [d for d in deltas if isinstance(d, ToolCallDelta) and d.id]
        assert [d.index for d in firsts] == list(range(len(message.tool_calls)))


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}: {case[1][:30]!r}")
def test_a_cut_answer_shows_nothing_that_the_whole_one_does_not(case: Case) -> None:
    family, text, content, reasoning, _ = case
    for end in range(len(text) + 1):
        parser = AnswerParser(AnswerFormat(TOOL_FORMATS[family], THINK), calls=True, thoughts=True)
        deltas = [d for i, letter in enumerate(text[:end]) for d in parser.push(i, letter)]
        message = joined([*deltas, *parser.finish(cut=True)])
        assert (content or "").startswith((message.content or "").rstrip()), text[:end]
        assert (reasoning or "").startswith(message.reasoning or ""), text[:end]


def test_only_max_tokens_makes_a_part_of_a_mark_nothing() -> None:
    for family, text, kept in (
        ("hermes", "so <tool_c", "so"),
        ("hermes", "<think", ""),
        ("llama3", '{"name": "a', ""),
    ):
        for cut in (False, True):
            parser = AnswerParser(AnswerFormat(TOOL_FORMATS[family], THINK), calls=True, thoughts=True)
            deltas = [*parser.push(0, text), *parser.finish(cut=cut)]
            assert joined(deltas).content == (kept if cut else text)


def test_marks_that_are_tokens_are_known_by_their_id() -> None:
    ids = {"<tool_call>": 900, "</tool_call>": 901, "<think>": 902, "</think>": 903}
    tokens = [
        (902, ""), (1, "hm"), (903, ""), (2, "<tool_call> is "), (3, "a mark "),
        (900, "<tool_call>"), (4, '\n{"name": "sub", "arguments": {"x": "</tool_call>"}}'), (901, "</tool_call>"),
    ]  # fmt: skip
    parser = AnswerParser(AnswerFormat(TOOL_FORMATS["hermes"], THINK, ids), calls=True, thoughts=True)
    message = joined([d for token, text in tokens for d in parser.push(token, text)] + parser.finish())
    assert (message.content, message.reasoning) == ("<tool_call> is a mark", "hm")
    assert _calls(message) == [("sub", {"x": "</tool_call>"})]


def test_an_answer_that_starts_inside_a_thought() -> None:
    parser = AnswerParser(AnswerFormat(None, THINK), thoughts=True, opened=True)
    message = joined(_read(parser, list("\nfirst\n</think>\n\nthen")))
    assert (message.reasoning, message.content) == ("first", "then")


def test_without_tools_or_thoughts_text_is_text() -> None:
    parser = AnswerParser(AnswerFormat(TOOL_FORMATS["hermes"], THINK))
    assert parser.push(0, "<think> <tool_call>") == [ContentDelta("<think> <tool_call>")]
    assert (parser.push(1, ""), parser.finish()) == ([], [])


def test_arguments_stream() -> None:
    parser = AnswerParser(AnswerFormat(TOOL_FORMATS["hermes"]), calls=True)
    deltas = _read(parser, [f"<tool_call>\n{ONE}"[i : i + 4] for i in range(0, 80, 4)])
    pieces = [d.arguments for d in deltas if isinstance(d, ToolCallDelta)]
    assert len(pieces) > 5
    assert json.loads("".join(pieces)) == CALLED[0][1]
