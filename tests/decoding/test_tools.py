"""Tool choice through the whole engine, on random logits: calls always parse and follow their schemas."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from specdec.decoding.engine import LocalEngine
from specdec.errors import InvalidRequest
from specdec.text.tools.formats import TOOL_FORMATS, AnswerFormat
from specdec.text.tools.template import ResponseTemplate
from specdec.types import Answer, Completion, Grammar
from tests.decoding.toy import EOS, TEMPLATE, ToyModel, byte_tokenizer, toy_engine

THINK = ("<think>", "</think>")
CHAT = [{"role": "user", "content": "hi"}]


def _tool(name: str, **properties: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "parameters": schema}}


TOOLS = [
    _tool("paint", coats={"type": "integer", "minimum": 1, "maximum": 9}, colour={"enum": ["red", "blue"]}),
    _tool("rest"),
]


def _engine(family: str) -> LocalEngine:
    answer_format, target = AnswerFormat(TOOL_FORMATS[family]), ToyModel(context=512)
    return toy_engine("near", "grammar", answer_format=answer_format, template=TEMPLATE, target=target)


@pytest.fixture(scope="module", params=[name for name in TOOL_FORMATS if name != "harmony"])
def engine(request: pytest.FixtureRequest) -> Iterator[LocalEngine]:
    with _engine(request.param) as engine:
        yield engine


def _ask(engine: LocalEngine, seed: int, **options: Any) -> Completion:
    return engine.generate(CHAT, tools=TOOLS, seed=seed, **{"max_tokens": 400, **options})


def _check(answer: Completion) -> list[str]:
    """The names of the calls; the last is left out if it was cut."""
    whole = answer.message.tool_calls[: -1 if answer.finish_reason == "length" else None]
    for call in whole:
        arguments = json.loads(call.arguments)
        if call.name == "paint":
            assert list(arguments) == ["coats", "colour"]
            assert arguments["colour"] in ("red", "blue")
            assert 1 <= arguments["coats"] <= 9
        else:
            assert (call.name, arguments) == ("rest", {})
    return [call.name for call in whole]


def test_required(engine: LocalEngine) -> None:
    names = [_check(_ask(engine, seed, tool_choice="required")) for seed in range(5)]
    assert {name for called in names for name in called} <= {"paint", "rest"}
    assert all(names)


def test_named_and_single(engine: LocalEngine) -> None:
    for seed in range(4):
        assert _check(_ask(engine, seed, tool_choice="paint")) == ["paint"]
        assert len(_check(_ask(engine, seed, tool_choice="required", parallel_tool_calls=False))) == 1


def test_none_and_auto(engine: LocalEngine) -> None:
    for seed in range(2):
        assert not _ask(engine, seed, tool_choice="none", max_tokens=120).message.tool_calls
        _check(_ask(engine, seed, max_tokens=120))


def test_a_form_beside_tools(engine: LocalEngine) -> None:
    for seed in range(6):
        answer = _ask(engine, seed, grammar=Grammar.choice(["yes", "no"]))
        assert answer.message.content in ("yes", "no", None)
        assert bool(answer.message.content) != bool(answer.message.tool_calls)
        form = Grammar.lark('start: "a" item  // one }\nitem: /[bc]/')
        assert _ask(engine, seed, grammar=form, tool_choice="none").message.content in ("ab", "ac")


def test_speculation_changes_no_call_and_a_streamed_message_is_the_whole_one(engine: LocalEngine) -> None:
    ids = re.compile("call_\\w+|[a-zA-Z0-9]{9}")
    for seed, lengths in ((0, (1, 16)), (1, (4,))):
        plain = _ask(engine, seed, tool_choice="required", speculative="off")
        for length in lengths:
            answer, tokens = Answer(), list[int]()
            options: dict[str, Any] = {"tool_choice": "required", "speculative": length}
            for event in engine.stream(CHAT, tools=TOOLS, seed=seed, max_tokens=400, **options):
                answer.add(event)
                tokens += [token.id for token in event.tokens]
            assert tuple(tokens) == plain.token_ids
            calls, whole = answer.message.tool_calls, plain.message
            assert answer.message.content == whole.content
            assert [(c.name, c.arguments) for c in calls] == [(c.name, c.arguments) for c in whole.tool_calls]
            assert all(c.id.startswith("functions.") or ids.fullmatch(c.id) for c in calls)


def test_cut_calls_say_so_and_are_no_content(engine: LocalEngine) -> None:
    for most in range(1, 40, 3):
        answer = engine.generate(CHAT, tools=TOOLS, tool_choice="paint", seed=1, max_tokens=most)
        assert answer.finish_reason == "length"
        if "\ufffd" not in answer.text:  # half a letter of a mark is none
            assert not answer.message.content, answer.text


@pytest.mark.parametrize(("schema", "reason"), [
    ({"type": "object", "properties": {"a": {"type": "string", "not": {"const": "x"}}}}, "not"),
    ({"type": "object", "properties": {"a": {"$ref": "#/$defs/b"}}}, r"\$defs"),
])  # fmt: skip
def test_schemas_that_cannot_be_kept_are_refused_by_name(
    engine: LocalEngine, schema: dict[str, Any], reason: str
) -> None:
    _check_refusal(engine, schema, reason)


def test_a_schema_that_compiles_for_too_long_is_refused_in_time() -> None:
    """By the clock, whatever the format: so of one."""
    schema = {"type": "object", "properties": {"a": {"type": "integer", "multipleOf": 99999999}}}
    with _engine("hermes") as engine:
        _check_refusal(engine, schema, "complex")


def _check_refusal(engine: LocalEngine, schema: dict[str, Any], reason: str) -> None:
    bad = {"type": "function", "function": {"name": "bad", "parameters": schema, "strict": True}}
    start, busy = time.perf_counter(), time.process_time()
    with pytest.raises(InvalidRequest, match=reason) as caught:
        engine.generate(CHAT, tools=[*TOOLS, bad])
    assert time.process_time() - busy < 2
    assert time.perf_counter() - start < 30, "the process that compiles was not cut short"
    assert caught.value.field in ("tools", "tools[2].function.parameters")
    assert _check(_ask(engine, 1, tool_choice="rest")) == ["rest"]


@pytest.mark.parametrize("family", ["hermes", "gemma"])
def test_a_tool_that_takes_too_long_to_compile_is_left_open_alone(
    family: str, caplog: pytest.LogCaptureFixture
) -> None:
    slow = _tool("slow", a={"type": "integer", "multipleOf": 99999999})
    form, target = AnswerFormat(TOOL_FORMATS[family]), ToyModel(context=512)
    with toy_engine("near", answer_format=form, template=TEMPLATE, target=target) as engine:
        for seed in range(3):
            answer = engine.generate(CHAT, tools=[slow, *TOOLS], tool_choice="required", seed=seed, max_tokens=400)
            assert re.findall("the tool '(\\w+)' is not enforced", caplog.text) == ["slow"], "it is known from now on"
            calls = [call for call in answer.message.tool_calls if call.name != "slow"]
            _check(replace(answer, message=replace(answer.message, tool_calls=tuple(calls))))


def test_no_format_no_tools() -> None:
    with (
        toy_engine(template=TEMPLATE) as engine,
        pytest.raises(InvalidRequest, match=r"tools is \['paint', 'rest'\]; expected none"),
    ):
        engine.generate(CHAT, tools=TOOLS)


def test_calls_by_a_response_template() -> None:
    """They are read; what no grammar holds is refused."""
    pytest.importorskip("transformers.utils.chat_parsing")  # of 5.13 and newer
    function = {"name": "rest", "arguments": {"coats": "{content}"}}
    calls = {"open": "(", "close": ")", "content": "int", "transform": {"type": "function", "function": function}}
    described = {"start_anchor": "<bot>", "fields": {"content": {}, "tool_calls": calls}}
    target, said = ToyModel(), byte_tokenizer().encode("Yes(7)")
    for letter, following in pairwise([*byte_tokenizer().encode(">"), *said, EOS]):
        target.first[letter, following] += 60
    form = AnswerFormat(template=ResponseTemplate.of(described, {}))
    with toy_engine("near", answer_format=form, template="{{ messages[0].content }}<bot>", target=target) as engine:
        (called,) = (answer := engine.generate(CHAT, tools=TOOLS, temperature=0)).message.tool_calls
        assert (answer.message.content, called.name, called.arguments) == ("Yes", "rest", '{"coats": 7}')
        assert engine.generate(CHAT, temperature=0).message.content == "Yes7"
        refused: list[tuple[dict[str, Any], str]] = [
            ({"tool_choice": "required"}, "tool_choice is 'required'; expected auto or none"),
            ({"tool_choice": "rest"}, "tool_choice is 'rest'"),
            ({"grammar": Grammar.regex("a")}, "grammar is 'regex'; expected none beside tools"),
            ({"tools": [{"type": "function", "function": {"name": "a", "strict": True}}]}, r"tools is \['a'\]"),
        ]
        for options, message in refused:
            with pytest.raises(InvalidRequest, match=message):
                engine.generate(CHAT, **{"tools": TOOLS, **options})


def test_an_opened_thought_goes_before_calls() -> None:
    target = ToyModel()
    ending = byte_tokenizer().encode("</think>")
    for letter, following in pairwise(ending):
        target.first[letter, following] += 60  # a random model would hardly ever end its thought
    answer_format, template = AnswerFormat(TOOL_FORMATS["hermes"], THINK), "{{ messages[0].content }}<think>\n"
    with toy_engine("near", answer_format=answer_format, template=template, target=target) as engine:
        for seed in range(3):
            answer = _ask(
                engine,
                seed,
                tool_choice="required",
                parallel_tool_calls=False,
                logit_bias={ending[0]: 5.0},
            )
            thought, end, call = answer.text.partition("</think>")
            assert (answer.finish_reason, end) == ("stop", "</think>")
            assert answer.message.reasoning == thought.strip() != ""
            assert "<tool_call>" not in thought
            assert "<tool_call>" in call
            assert len(_check(answer)) == 1
