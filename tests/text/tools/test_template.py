"""Answers that are read by a checkpoint's own response template: as the library reads them, however they are split."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from specdec.errors import CheckpointCorrupt
from specdec.text.tools.template import ResponseTemplate, TemplateParser
from specdec.types import Message
from tests.text.tools.written import BY_DESCRIPTION, DESCRIBED, Token, cut, message_of, told

chat_parsing = pytest.importorskip("transformers.utils.chat_parsing")  # of 5.13 and newer
MARKS = ("<|think|>", "<|/think|>", "<|act|>", "<|/act|>", "<|say|>", "<|/say|>")
IDS = {mark: 900 + i for i, mark in enumerate(MARKS)}
SPECIAL = {token: mark for mark, token in IDS.items()}
CALL = {"type": "function", "function": {"name": "{tool}", "arguments": "{parameters}"}}
LISTED = {
    "start_anchor": "<|bot|>",
    "defaults": {"role": "assistant"},
    "fields": {
        "thinking": {"open": "<|think|>", "close": "<|/think|>"},
        "content": {"open": "<|say|>", "close": "<|/say|>"},
        "tool_calls": {
            "open": "<|act|>", "close": "<|/act|>", "content": "json", "transform": CALL, "transform_each": True,
        },
    },
}  # fmt: skip
PROPERTIES = {"a": {"type": "integer"}, "text": {"type": "string"}}
TOOLS = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": PROPERTIES}}}]
ANSWERS: dict[str, tuple[dict[str, Any], str]] = {
    "listed": (
        LISTED,
        '<|think|> Hm, <b>.\n<|/think|><|act|>[{"tool": "add", "parameters": {"text": "<|x|> é"}}]<|/act|>',
    ),
    "listed text": (LISTED, "<|think|>Hm<|/think|><|say|> Two\n\n words. <|/say|>"),
    "tagged": (DESCRIBED, BY_DESCRIPTION),
    "tagged text": (DESCRIBED, "\nTwo words."),
}


def _read(described: dict[str, Any], tokens: list[Token], *, over: bool = False, calls: bool = True) -> Message:
    template = ResponseTemplate.of(described, SPECIAL)
    assert template
    parser = TemplateParser(template, "<|bot|>", TOOLS, calls=calls)
    deltas = [delta for token, shown in tokens for delta in parser.push(token, shown)]
    return message_of([*deltas, *parser.finish(cut=over)])


@pytest.mark.parametrize("name", ANSWERS)
def test_as_the_library_reads_it_however_it_is_split(name: str) -> None:
    described, text = ANSWERS[name]
    whole = chat_parsing.parse_response(text, described, prefix="<|bot|>", tools=TOOLS)
    thought = whole.get("thinking") or whole.get("reasoning_content")
    calls = [call["function"] for call in whole.get("tool_calls", ())]
    for seed in range(17):
        message = _read(described, cut(text, random.Random(seed), IDS))
        assert (message.reasoning, message.content or "") == (thought, whole.get("content", ""))
        made = [{"name": call.name, "arguments": json.loads(call.arguments)} for call in message.tool_calls]
        assert made == calls and len({call.id for call in message.tool_calls}) == len(calls)


@pytest.mark.parametrize("name", ["listed", "tagged"])
def test_anything_however_it_is_split(name: str) -> None:
    described, text = ANSWERS[name]
    parts = [*MARKS, "<think>", "</think>", "<call name=add>", "</call>", "<a>", "</a>", '[{"tool": "x"', " ", "\n"]
    for seed in range(100):
        rng = random.Random(seed)
        text = "".join(rng.choice(parts) for _ in range(rng.randrange(1, 12)))
        over, ids = rng.random() < 0.3, IDS if rng.random() < 0.5 else {}
        first, *others = (told(_read(described, cut(text, random.Random(n), ids), over=over)) for n in range(4))
        assert others == [first] * 3, text


def test_what_is_no_call_is_content_and_a_cut_one_nothing() -> None:
    text = '<|act|>[{"tool": "add"'
    assert _read(LISTED, cut(text + "<|/act|> so", random.Random(0), IDS)).content == '[{"tool": "add" so'
    assert _read(LISTED, cut(text, random.Random(0), IDS)).content == '[{"tool": "add"'
    assert told(_read(LISTED, cut(text, random.Random(0), IDS), over=True)) == (None, "", [])


def test_without_tools_a_call_is_text() -> None:
    described, text = ANSWERS["tagged"]
    message = _read(described, cut(text, random.Random(0), IDS), calls=False)
    assert message.content == "Wait.<a>1</a>\n<text>12</text><a>2</a>" and not message.tool_calls


def test_a_prompt_may_have_begun_the_thought() -> None:
    template = ResponseTemplate.of(DESCRIBED, {})
    assert template
    parser = TemplateParser(template, "<think>no</think><|bot|><think>\n", (), calls=False)
    message = message_of([*parser.push(0, "Hm</think>Yes"), *parser.finish()])
    assert (message.reasoning, message.content) == ("Hm", "Yes")


def test_one_that_cannot_be_read_is_named() -> None:
    assert ResponseTemplate.of(None, {}) is None
    with pytest.raises(CheckpointCorrupt, match=r"response_template: .*start_anchor.*tool_format='none'"):
        ResponseTemplate.of({"fields": {"content": {}}}, {})
