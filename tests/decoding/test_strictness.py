"""Schemas of which a part cannot be enforced: the rest of them holds and the log says which part, or strict ones are
refused by it. In answers, beside tools and in tools."""

from __future__ import annotations

import json
import logging
import pathlib
import re
from collections.abc import Iterator
from enum import Enum
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr

from specdec.decoding.engine import LocalEngine
from specdec.errors import InvalidRequest
from specdec.text.schemas import closed
from specdec.text.tools.formats import TOOL_FORMATS, AnswerFormat
from specdec.types import Completion, Grammar
from tests.decoding.toy import TEMPLATE, toy_engine

CHAT = [{"role": "user", "content": "hi"}]
TEXT: dict[str, Any] = {"type": "string", "maxLength": 9}
OBJECT = {"type": "object", "properties": {"x": TEXT}, "additionalProperties": False}
INTEGERS = {"type": "array", "items": {"type": "integer", "minimum": 1, "maximum": 9}, "maxItems": 3}
UNENFORCED: dict[str, dict[str, Any]] = {
    "propertyNames": OBJECT | {"propertyNames": {"minLength": 1}},
    "uniqueItems": INTEGERS | {"uniqueItems": True},
    "not": TEXT | {"not": {"const": "x"}},
    "if": TEXT | {"if": {"minLength": 3}, "then": {"maxLength": 5}},
    "contains": INTEGERS | {"contains": {"const": 3}},
    "minContains": INTEGERS | {"contains": {"const": 3}, "minContains": 1},
    "dependentRequired": OBJECT | {"dependentRequired": {"x": ["x"]}},
    "dependentSchemas": OBJECT | {"dependentSchemas": {"x": {"minProperties": 1}}},
    "unevaluatedProperties": OBJECT | {"unevaluatedProperties": False},
    "unevaluatedItems": INTEGERS | {"unevaluatedItems": False},
    "$dynamicRef": TEXT | {"$dynamicRef": "#x"},
    "oneOf": {"oneOf": [{"type": "integer", "maximum": 99, "minimum": 0}, {"enum": [1, 2]}]},
    "maxProperties": OBJECT | {"maxProperties": 0},
    "look-ahead": {"type": "string", "pattern": "^(?=a)[ab]{1,4}$"},
    "look-behind": {"type": "string", "pattern": "^[ab]{1,4}(?<!b)$"},
    "WordUnicode": {"type": "string", "pattern": r"^\b[ab]{1,4}\b$"},
    "backreferences": {"type": "string", "pattern": r"^(a|b)[ab]{1,4}\1{0}$"},
    "escape": {"type": "string", "pattern": r"^a\Z", "maxLength": 9},
    "disjoint": {"type": "object", "patternProperties": {"^a": TEXT, "^ab": TEXT}, "maxProperties": 0},
} | {
    name: TEXT | {"format": name}
    for name in ("byte", "binary", "password", "regex", "path", "uri-reference", "iri", "json-pointer", "color")
}  # fmt: skip
SAID = {"minContains": "contains", "look-ahead": "pattern", "look-behind": "pattern", "WordUnicode": "pattern",
        "backreferences": "pattern", "escape": "pattern", "disjoint": "patternProperties"}  # fmt: skip


@pytest.fixture(scope="module")
def engine() -> Iterator[LocalEngine]:
    with toy_engine("near", "grammar", answer_format=AnswerFormat(TOOL_FORMATS["hermes"]), template=TEMPLATE) as engine:
        yield engine


def _schema(value: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"value": value},
        "required": ["value"],
        "additionalProperties": False,
    }


def _tool(value: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "f", "parameters": _schema(value)} | more}


def _value(text: str) -> Any:
    answer = json.loads(text)
    assert list(answer) == ["value"]
    return answer["value"]


def _warnings(caplog: pytest.LogCaptureFixture) -> str:
    return "\n".join(r.getMessage() for r in caplog.records if r.levelno == logging.WARNING)


@pytest.mark.parametrize("name", UNENFORCED)
def test_what_can_be_enforced_is_and_the_log_says_what_not(
    engine: LocalEngine, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    value = UNENFORCED[name]
    answer = engine.generate("x", grammar=Grammar.json_schema(_schema(value)), seed=1, max_tokens=200)
    kinds = {"array": list, "string": str, "object": dict}
    assert isinstance(_value(answer.text), kinds.get(value.get("type", ""), int))
    assert SAID.get(name, name) in _warnings(caplog)
    caplog.clear()
    again = engine.generate("x", grammar=Grammar.json_schema(_schema(value)), seed=1, max_tokens=200)
    assert again.text == answer.text
    assert not caplog.records


@pytest.mark.parametrize("name", UNENFORCED)
def test_a_strict_schema_is_refused_by_what_cannot_be_enforced(engine: LocalEngine, name: str) -> None:
    with pytest.raises(InvalidRequest, match=f"one that is not strict .*{re.escape(name)}") as caught:
        engine.generate("x", grammar=Grammar.json_schema(_schema(UNENFORCED[name]), strict=True))
    assert "coerce" not in str(caught.value)
    with pytest.raises(InvalidRequest, match=f"one that is not strict .*{re.escape(name)}") as caught:
        engine.generate(CHAT, tools=[_tool(TEXT, name="g", strict=True), _tool(UNENFORCED[name], strict=True)])
    assert caught.value.field == "tools[1].function.parameters"


@pytest.mark.parametrize("name", UNENFORCED)
def test_a_tool_that_is_not_strict_is_called(engine: LocalEngine, caplog: pytest.LogCaptureFixture, name: str) -> None:
    tools = [_tool(UNENFORCED[name] | {"title": "tool"}), _tool(TEXT, name="g", strict=True)]
    answer = engine.generate(CHAT, tools=tools, tool_choice="f", seed=2, max_tokens=200)
    assert answer.finish_reason == "stop"
    _value(answer.message.tool_calls[0].arguments)
    assert SAID.get(name, name) in _warnings(caplog)


def test_a_form_beside_tools_is_held_as_far_as_it_can_be(engine: LocalEngine) -> None:
    value = UNENFORCED["look-ahead"]
    form = Grammar.json_schema(_schema(value))
    answers = [engine.generate(CHAT, tools=[_tool(TEXT)], grammar=form, seed=seed, max_tokens=200) for seed in range(4)]
    contents = [answer.message.content for answer in answers if answer.message.content]
    assert contents and {letter for content in contents for letter in _value(content)} <= {"a", "b"}
    with pytest.raises(InvalidRequest, match=r"not strict .*look-ahead") as caught:
        engine.generate(CHAT, tools=[_tool(TEXT)], grammar=Grammar.json_schema(_schema(value), strict=True))
    assert caught.value.field == "grammar"


def test_a_pattern_holds_but_for_its_look_around(engine: LocalEngine) -> None:
    for name in ("look-ahead", "look-behind", "WordUnicode"):
        for seed in range(3):
            form = Grammar.json_schema(_schema(UNENFORCED[name]))
            text = _value(engine.generate("x", grammar=form, seed=seed, max_tokens=200).text)
            assert 1 <= len(text) <= 4
            assert set(text) <= {"a", "b"}


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Held(BaseModel):
    colours: set[Colour]
    frozen: frozenset[bool]
    secret: SecretStr
    path: pathlib.Path
    raw: bytes


def test_classes_of_pydantic(engine: LocalEngine) -> None:
    """Neither uniqueItems nor any of these formats is enforced."""
    schema = closed(Held.model_json_schema())
    for part in schema["properties"].values():
        part |= {"maxLength": 9, "maxItems": 3, "maximum": 99}
    for seed in range(4):
        answer = engine.generate("x", grammar=Grammar.json_schema(schema), seed=seed, max_tokens=250)
        held = Held.model_validate_json(answer.text)
        assert len(str(held.path)) <= 9


def test_decimals_hold_but_for_the_look_ahead(engine: LocalEngine) -> None:
    """As pydantic wrote them for years."""
    value = {"type": "string", "pattern": r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$", "minLength": 3, "maxLength": 9}
    for seed in range(6):
        answer = engine.generate("x", grammar=Grammar.json_schema(_schema(value)), seed=seed, max_tokens=40)
        float(_value(answer.text))


def test_schemas_that_are_wrong_are_refused_strict_or_not(engine: LocalEngine) -> None:
    for value, reason in (
        ({"$ref": "#/$defs/no"}, "no"),
        ({"type": "foo"}, "foo"),
        ({"type": "integer", "multipleOf": 99999999}, "complex"),
    ):
        with pytest.raises(InvalidRequest, match=f"can be enforced .*{reason}") as caught:
            engine.generate("x", grammar=Grammar.json_schema(_schema(value)))
        assert "strict" not in str(caught.value)


ODD = {
    r'{"pattern": "\ud800"}': True,
    r'{"pattern": "(?=\ud800)a"}': True,
    r'{"const": "\ud800"}': False,
    '{"maximum": 1e400}': False,
    '{"const": NaN}': False,
    '{"const": 123456789012345678901234567890}': True,
    '{"x-guidance": 3}': True,
}


@pytest.mark.parametrize("text", ODD)
def test_odd_schemas_are_held_or_refused(engine: LocalEngine, text: str) -> None:
    if ODD[text]:
        assert engine.generate("x", grammar=Grammar.json_schema(text), max_tokens=5).text
        return
    with pytest.raises(InvalidRequest, match="can be enforced"):
        engine.generate("x", grammar=Grammar.json_schema(text))


def test_the_log_gets_one_line(engine: LocalEngine, caplog: pytest.LogCaptureFixture) -> None:
    for schema in ({"pattern": "(?=a)\nforged" + "x" * 9000}, {"type": "string", "format": "a\nforged"}):
        engine.generate("x", grammar=Grammar.json_schema(schema), max_tokens=5)
        line = _warnings(caplog)
        assert "forged" in line
        assert "\n" not in line
        assert len(line) < 600
        caplog.clear()


def test_strict_is_true_or_false() -> None:
    with pytest.raises(InvalidRequest, match=r"grammar.strict is 'yes'; expected true or false"):
        Grammar("json_schema", "{}", "yes")  # type: ignore[arg-type]
    with pytest.raises(InvalidRequest, match=r"tools\[0\].function.strict is 1; expected true or false"):
        _request(strict=1)


def _request(**more: Any) -> Completion:
    with toy_engine(answer_format=AnswerFormat(TOOL_FORMATS["hermes"]), template=TEMPLATE) as engine:
        return engine.generate(CHAT, tools=[_tool(TEXT, **more)])
