"""Calls that start with a head: every format, split into events in every way, with marks as tokens and as text."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from specdec.text.tools.formats import TOOL_FORMATS, AnswerFormat, inner_texts
from specdec.text.tools.parser import AnswerParser
from specdec.types import Answer, Delta, Message, ToolCallDelta

THINK = ("<think>", "</think>")
SCHEMAS: Mapping[str, Mapping[str, Any]] = {
    "add": {"properties": {"a": {"type": "integer"}, "b": {"type": "array"}, "c": {"type": ["string", "null"]}}},
    "say": {"properties": {"text": {"type": "string"}, "loud": {"type": "boolean"}}},
    "sub": {"properties": {}},
}
ADD = {"a": 1, "b": [2, {"c": '}"{'}], "c": "12"}
TEXT = 'Two\nlines, "q" \\ é 😀 </para <arg and {x}: 12\n'
SAY = {"text": TEXT, "loud": True}


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _qwen(name: str, arguments: Mapping[str, Any]) -> str:
    values = {key: value if isinstance(value, str) else _json(value) for key, value in arguments.items()}
    pairs = "".join(f"<parameter={key}>\n{value}\n</parameter>\n" for key, value in values.items())
    return f"<tool_call>\n<function={name}>\n{pairs}</function>\n</tool_call>"


def _glm(name: str, arguments: Mapping[str, Any], gap: str) -> str:
    values = {key: value if isinstance(value, str) else _json(value) for key, value in arguments.items()}
    pairs = "".join(f"<arg_key>{k}</arg_key>{gap}<arg_value>{v}</arg_value>{gap}" for k, v in values.items())
    return f"<tool_call>{name}{gap}{pairs}</tool_call>"


def _kimi(number: int, name: str, arguments: Mapping[str, Any]) -> str:
    head = f"<|tool_call_begin|>functions.{name}:{number}<|tool_call_argument_begin|>"
    return f"{head}{_json(arguments)}<|tool_call_end|>"


CALLS: list[tuple[str, dict[str, Any]]] = [("add", ADD), ("say", SAY), ("sub", {})]
WRITTEN = {
    "qwen_xml": "\n".join(_qwen(*call) for call in CALLS),
    "glm": "\n".join(_glm(*call, "\n") for call in CALLS),
    "glm_dense": "".join(_glm(*call, "") for call in CALLS),
    "mistral_args": "".join(f"[TOOL_CALLS]{name}[ARGS]{_json(arguments)}" for name, arguments in CALLS),
    "mistral_ids": "".join(f"[TOOL_CALLS]{n}[CALL_ID]abcdEFG1{i}[ARGS]{_json(a)}" for i, (n, a) in enumerate(CALLS)),
    "kimi": "<|tool_calls_section_begin|>"
    + "".join(_kimi(i, *call) for i, call in enumerate(CALLS))
    + "<|tool_calls_section_end|>",
    "deepseek": "<｜tool▁calls▁begin｜>"
    + "".join(f"<｜tool▁call▁begin｜>{n}<｜tool▁sep｜>{_json(a)}<｜tool▁call▁end｜>" for n, a in CALLS)
    + "<｜tool▁calls▁end｜>",
    "deepseek_r1": "<｜tool▁calls▁begin｜>"
    + "\n".join(
        f"<｜tool▁call▁begin｜>function<｜tool▁sep｜>{n}\n```json\n{_json(a)}\n```<｜tool▁call▁end｜>" for n, a in CALLS
    )
    + "<｜tool▁calls▁end｜>",
}
MARKS = r"<think>|</think>|<\|.*?\|>|<｜.*?｜>|\[[A-Z_]+\]|</?tool_call>|</?arg_\w+>"
Token = tuple[int, str]


def _format(family: str, ids: Mapping[str, int]) -> AnswerFormat:
    return AnswerFormat(TOOL_FORMATS[family], THINK, ids)


def _tokens(text: str, rng: random.Random, ids: Mapping[str, int]) -> list[Token]:
    """Marks in `ids` are special tokens, which show nothing; the rest is cut anywhere."""
    out: list[Token] = []
    for part in re.split(f"({'|'.join(map(re.escape, ids)) or '(?!)'})", text):
        if part in ids:
            out.append((ids[part], ""))
            continue
        at = 0
        while at < len(part):
            size = rng.choice([1, 1, 2, 3, 7])
            out.append((0, part[at : at + size]))
            at += size
    return out


def _events(tokens: Sequence[Token], rng: random.Random, most: int) -> list[list[Token]]:
    """As rounds of 1 to `most` + 1 tokens bring them."""
    out, at = [], 0
    while at < len(tokens):
        size = rng.randint(1, most + 1)
        out.append(list(tokens[at : at + size]))
        at += size
    return out


def _message(deltas: Sequence[Delta]) -> Message:
    answer = Answer()
    for delta in deltas:
        answer.grow(delta)
    return answer.message


@pytest.mark.parametrize("marked", [True, False], ids=["tokens", "text"])
@pytest.mark.parametrize("family", WRITTEN)
def test_however_it_is_split(family: str, marked: bool) -> None:
    """The streamed message equals the whole one, for draft lengths from none to 16."""
    text = f"<think>\nHm, <b>.\n</think>\n\nWait.\n\n{WRITTEN[family]}"
    ids = {mark: 900 + i for i, mark in enumerate(dict.fromkeys(re.findall(MARKS, text)))} if marked else {}
    for seed in range(17):
        rng = random.Random(seed)
        parser = AnswerParser(_format(family, ids), calls=True, thoughts=True, schemas=SCHEMAS)
        deltas: list[Delta] = []
        for event in _events(_tokens(text, rng, ids), rng, most=seed):
            deltas += [delta for token, shown in event for delta in parser.push(token, shown)]
        deltas += parser.finish()
        message = _message(deltas)
        assert (message.reasoning, message.content) == ("Hm, <b>.", "Wait.")
        assert [(call.name, json.loads(call.arguments)) for call in message.tool_calls] == CALLS
        firsts = [delta.index for delta in deltas if isinstance(delta, ToolCallDelta) and delta.id]
        assert firsts == [0, 1, 2]
        assert len({call.id for call in message.tool_calls}) == 3


@pytest.mark.parametrize("family", WRITTEN)
def test_half_an_answer(family: str) -> None:
    """What streams of a call is a prefix of it, names never change, and a cut shows no mark."""
    text = f"Wait. {WRITTEN[family]}"
    for end in range(len(text)):
        for cut in (True, False):
            parser = AnswerParser(_format(family, {}), calls=True, thoughts=True, schemas=SCHEMAS)
            deltas = [delta for letter in text[:end] for delta in parser.push(0, letter)]
            message = _message([*deltas, *parser.finish(cut=cut)])
            for call, (name, arguments) in zip(message.tool_calls, CALLS, strict=False):
                assert call.name == name
                assert _json(arguments).startswith(call.arguments)
            assert not cut or "Wait.".startswith((message.content or "").rstrip())


def test_texts_stream_and_look_alikes_of_tokens_are_text() -> None:
    """A model that writes a mark's letters, not its token, means the letters."""
    ids = {mark: 900 + i for i, mark in enumerate(re.findall(MARKS, _glm("say", {"text": ""}, "\n")))}
    said = "to end write </arg_value> or </tool_call>, " * 3
    parser = AnswerParser(_format("glm", ids), calls=True, schemas=SCHEMAS)
    start, end = "<tool_call>say\n<arg_key>text</arg_key>\n<arg_value>", "</arg_value>\n</tool_call>"
    tokens = [*_tokens(start, random.Random(0), ids), *((0, said[i : i + 5]) for i in range(0, len(said), 5))]
    deltas = [d for token, shown in (*tokens, *_tokens(end, random.Random(0), ids)) for d in parser.push(token, shown)]
    assert len(deltas) > 12
    assert json.loads(_message(deltas).tool_calls[0].arguments) == {"text": said}


def test_ids_are_the_models_own_where_it_writes_them() -> None:
    wanted = {"kimi": ["functions.add:0", "functions.say:1", "functions.sub:2"],
              "mistral_ids": ["abcdEFG10", "abcdEFG11", "abcdEFG12"]}  # fmt: skip
    for family, expected in wanted.items():
        parser = AnswerParser(_format(family, {}), calls=True, schemas=SCHEMAS)
        assert [call.id for call in _message(parser.push(0, WRITTEN[family])).tool_calls] == expected


@pytest.mark.parametrize("family", WRITTEN)
def test_what_is_no_call_comes_out_as_content(family: str) -> None:
    form = TOOL_FORMATS[family]
    parser = AnswerParser(_format(family, {}), calls=True, schemas=SCHEMAS)
    message = _message([*parser.push(0, f"{form.begin}oh {form.end}so"), *parser.finish()])
    assert not message.tool_calls or family.startswith("glm"), "a name alone is a call there"
    assert "so" in (message.content or "so")


def test_marks_within_calls_are_known() -> None:
    added = {"[TOOL_CALLS]": 9, "[ARGS]": 10, "[INST]": 3, ">": 4}
    assert AnswerFormat.of("mistral_args", "", added).ids == {"[TOOL_CALLS]": 9, "[ARGS]": 10}
    assert inner_texts(TOOL_FORMATS["hermes"]) == ()
