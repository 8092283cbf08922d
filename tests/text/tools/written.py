"""How each family writes the same answer, as facts about their templates, and as tokens cut in any way."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from specdec.text.tools.formats import TOOL_FORMATS, AnswerFormat
from specdec.text.tools.harmony import HarmonyParser
from specdec.text.tools.parser import AnswerParser, Parser
from specdec.text.tools.template import ResponseTemplate, TemplateParser
from specdec.types import Answer, Delta, Message

THINK = ("<think>", "</think>")
QUOTE = '<|"|>'
SCHEMAS: Mapping[str, Mapping[str, Any]] = {
    "add": {"properties": {"a": {"type": "integer"}, "b": {"type": "array"}, "c": {"type": ["string", "null"]}}},
    "say": {"properties": {"text": {"type": "string"}, "loud": {"type": "boolean"}}},
    "sub": {"properties": {}},
}
ADD = {"a": 1, "b": [2, {"c": '}"{'}], "c": "12"}
TEXT = 'Two\nlines, "q" \\ é 😀 </para <arg and {x}: 12\n'
SAY = {"loud": True, "text": TEXT}


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _named(name: str, arguments: Mapping[str, Any], key: str = "arguments") -> str:
    return _json({"name": name, key: arguments})


def _qwen(name: str, arguments: Mapping[str, Any]) -> str:
    values = {key: value if isinstance(value, str) else _json(value) for key, value in arguments.items()}
    pairs = "".join(f"<parameter={key}>\n{value}\n</parameter>\n" for key, value in values.items())
    return f"<tool_call>\n<function={name}>\n{pairs}</function>\n</tool_call>"


def glm(name: str, arguments: Mapping[str, Any], gap: str) -> str:
    values = {key: value if isinstance(value, str) else _json(value) for key, value in arguments.items()}
    pairs = "".join(f"<arg_key>{k}</arg_key>{gap}<arg_value>{v}</arg_value>{gap}" for k, v in values.items())
    return f"<tool_call>{name}{gap}{pairs}</tool_call>"


def dsml(block: str, calls: Iterable[tuple[str, Mapping[str, Any]]]) -> str:
    """As DeepSeek writes calls since V3.2."""
    written = []
    for name, arguments in calls:
        told = [(key, value, "true") if isinstance(value, str) else (key, _json(value), "false")
                for key, value in arguments.items()]  # fmt: skip
        pairs = [f'<｜DSML｜parameter name="{key}" string="{text}">{v}</｜DSML｜parameter>' for key, v, text in told]
        written.append("\n".join((f'<｜DSML｜invoke name="{name}">', "\n".join(pairs), "</｜DSML｜invoke>")))
    return "\n".join((f"<｜DSML｜{block}>", *written, f"</｜DSML｜{block}>"))


def _kimi(number: int, name: str, arguments: Mapping[str, Any]) -> str:
    head = f"<|tool_call_begin|>functions.{name}:{number}<|tool_call_argument_begin|>"
    return f"{head}{_json(arguments)}<|tool_call_end|>"


def _gemma(value: object, quote: str) -> str:
    if isinstance(value, str):
        return quote + value + quote
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{_gemma(inner, quote)}' for key, inner in value.items())}}}"
    return f"[{','.join(_gemma(inner, quote) for inner in value)}]" if isinstance(value, list) else json.dumps(value)


CALLS: list[tuple[str, dict[str, Any]]] = [("add", ADD), ("say", SAY), ("sub", {})]
SINGLE = ("llama3", "harmony")
"""Families whose answers hold one call."""
WRITTEN = {
    "deepseek_v32": dsml("function_calls", CALLS),
    "deepseek_v4": dsml("tool_calls", CALLS),
    "hermes": "\n".join(f"<tool_call>\n{_named(*call)}\n</tool_call>" for call in CALLS),
    "mistral": f"[TOOL_CALLS] [{', '.join(_named(*call) for call in CALLS)}]",
    "llama3": _named("say", SAY, "parameters"),
    "harmony": f"<|channel|>commentary to=functions.say <|constrain|>json<|message|>{_json(SAY)}<|call|>",
    "gemma": "".join(f"<|tool_call>call:{n}{_gemma(a, QUOTE)}<tool_call|>" for n, a in CALLS),
    "function_gemma": "".join(
        f"<start_function_call>call:{n}{_gemma(a, '<escape>')}<end_function_call>" for n, a in CALLS
    ),
    "qwen_xml": "\n".join(_qwen(*call) for call in CALLS),
    "glm": "\n".join(glm(*call, "\n") for call in CALLS),
    "glm_dense": "".join(glm(*call, "") for call in CALLS),
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
DESCRIBED = {
    "start_anchor": "<|bot|>",
    "fields": {
        "reasoning_content": {"open": "<think>", "close": "</think>"},
        "content": {},
        "tool_calls": {
            "open_pattern": r"\s*<call name=(?P<name>[^>\n]+)>",
            "close": "</call>",
            "repeats": True,
            "content": "xml-inline",
            "content_args": {"tag_pattern": r"<(?P<key>\w+)>(?P<value>.*?)</\w+>"},
            "transform": {"type": "function", "function": {"name": "{name}", "arguments": "{content}"}},
        },
    },
}
"""A response template, of transformers 5.13 and newer."""
BY_DESCRIPTION = (
    "<think>\nHm\n</think>\n\nWait.\n<call name=add><a>1</a>\n<text>12</text></call><call name=sub><a>2</a></call>"
)
"""An answer that is read by it."""
HEADED = [family for family in WRITTEN if TOOL_FORMATS[family].head and family != "harmony"]
_MARKS = (
    r"<\|tool_call>|<tool_call\|>|<\|\"\|>|<\|channel>|<channel\|>|<escape>|<(?:start|end)_function_call>|"
    r"｜DSML｜|</?think>|<\|.*?\|>|<｜.*?｜>|\[[A-Z_]+\]|</?tool_call>|</?arg_\w+>"
)
Token = tuple[int, str]


def marks_in(text: str) -> list[str]:
    return list(dict.fromkeys(re.findall(_MARKS, text)))


def thought(family: str, text: str) -> str:
    """A thought as the family writes it, up to where something else may follow."""
    if family == "harmony":
        return f"<|channel|>analysis<|message|>{text}<|end|><|start|>assistant"
    return f"<|channel>thought\n{text}\n<channel|>" if family == "gemma" else f"<think>\n{text}\n</think>\n\n"


def whole(family: str) -> str:
    """An answer that thinks, says something where it may, and calls."""
    lead = {"llama3": "", "harmony": "<|channel|>commentary<|message|>Wait.<|end|><|start|>assistant"}
    return thought(family, "Hm, <b>.") + lead.get(family, "Wait.\n\n") + WRITTEN[family]


def check(family: str, message: Message) -> None:
    """That it is the message of `whole`."""
    assert message.reasoning == "Hm, <b>."
    assert message.content == (None if family == "llama3" else "Wait.")
    called = [(call.name, json.loads(call.arguments)) for call in message.tool_calls]
    assert called == ([("say", SAY)] if family in SINGLE else CALLS)
    assert len({call.id for call in message.tool_calls}) == len(called)


def answer_format(family: str, ids: Mapping[str, int]) -> AnswerFormat:
    form = TOOL_FORMATS[family]
    if family == "harmony":
        return AnswerFormat.harmony(form, ids)
    return AnswerFormat(form, ("<|channel>", "<channel|>") if family == "gemma" else THINK, ids)


def parser(family: str, ids: Mapping[str, int], *, thoughts: bool = True) -> Parser:
    if family == "harmony":
        return HarmonyParser(ids, calls=True)
    return AnswerParser(answer_format(family, ids), calls=True, thoughts=thoughts, schemas=SCHEMAS)


def described_parser() -> Parser:
    template = ResponseTemplate.of(DESCRIBED, {})
    assert template
    properties = {"a": {"type": "integer"}, "text": {"type": "string"}}
    tool = {"name": "add", "parameters": {"type": "object", "properties": properties}}
    return TemplateParser(template, "<|bot|>", [{"type": "function", "function": tool}], calls=True)


def cut(text: str, rng: random.Random, ids: Mapping[str, int]) -> list[Token]:
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


def message_of(deltas: Iterable[Delta]) -> Message:
    answer = Answer()
    for delta in deltas:
        answer.grow(delta)
    return answer.message


def told(message: Message) -> tuple[str | None, str | None, Sequence[tuple[str, str]]]:
    """All of it but its calls' ids, which are made up."""
    return message.reasoning, message.content, [(call.name, call.arguments) for call in message.tool_calls]
