"""Thoughts through the whole engine, on random logits: a form holds behind them, wherever drafts end."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from specdec.decoding.engine import LocalEngine
from specdec.errors import InvalidRequest
from specdec.text.tools.formats import TOOL_FORMATS, AnswerFormat
from specdec.types import Completion, Grammar, Speculative
from tests.decoding import toy
from tests.decoding.toy import THINK, THINKING, VOCAB, ToyModel, byte_tokenizer, thinking_engine, toy_engine

TOKENS = ("þ", "ÿ")
CHAT = [{"role": "user", "content": "hi"}]
SCHEMA = {
    "type": "object",
    "properties": {"a": {"enum": [1, 2]}, "b": {"type": "boolean"}},
    "required": ["a", "b"],
    "additionalProperties": False,
}
TOOL = {"type": "function", "function": {"name": "rest", "parameters": {"type": "object", "properties": {}}}}
FORMS = {
    "schema": (Grammar.json_schema(SCHEMA), r'\{"a": [12], "b": (true|false)\}'),
    "regex": (Grammar.regex("[ab]{2,5}/[cd]"), "[ab]{2,5}/[cd]"),
    "choice": (Grammar.choice(["<think>", "a</think>"]), "<think>|a</think>"),
    "lark": (Grammar.lark('start: form form\nform: "x" | "y"  // of two }'), "[xy]{2}"),
}
LENGTHS: tuple[Speculative, ...] = ("off", 1, 4, 16)


@pytest.fixture(scope="module")
def engine() -> Iterator[LocalEngine]:
    with thinking_engine() as engine:
        yield engine


def _ask(engine: LocalEngine, seed: int, **options: Any) -> list[Completion]:
    """The same, at every draft length."""
    options = dict[str, Any](seed=seed, max_tokens=400, reasoning="on") | options
    answers = [engine.generate(CHAT, speculative=length, **options) for length in LENGTHS]
    assert len({answer.token_ids for answer in answers}) == 1
    return answers


@pytest.mark.parametrize("name", FORMS)
def test_a_form_holds_behind_the_thought(engine: LocalEngine, name: str) -> None:
    form, pattern = FORMS[name]
    for seed in range(3):
        for answer in _ask(engine, seed, grammar=form):
            thought, end, rest = answer.text.partition("</think>")
            assert (answer.finish_reason, end) == ("stop", "</think>")
            assert answer.message.reasoning == thought.strip() != ""
            assert re.fullmatch(pattern, answer.message.content or ""), rest


def test_a_model_that_may_think_may_still_not(engine: LocalEngine) -> None:
    form, pattern = FORMS["regex"]
    for answer in _ask(engine, 0, grammar=form, reasoning="auto"):
        assert re.fullmatch(pattern, answer.message.content or "")
    begin = byte_tokenizer().encode("<")[0]
    for answer in _ask(engine, 0, grammar=form, reasoning="auto", logit_bias={begin: 100.0}, max_tokens=20):
        assert answer.text.startswith("<think>")
        assert answer.message.reasoning
        assert not answer.message.content


def test_no_thought_where_it_is_off_or_the_prompt_is_no_chat(engine: LocalEngine) -> None:
    form, begin = Grammar.json_schema(SCHEMA), byte_tokenizer().encode("<")[0]
    asked: list[tuple[Any, dict[str, Any]]] = [(CHAT, {"reasoning": False}), ("raw", {})]
    for prompt, options in asked:
        answer = engine.generate(prompt, grammar=form, seed=1, logit_bias={begin: 100.0}, **options)
        assert json.loads(answer.text).keys() == {"a", "b"}
        assert answer.message.content == answer.text


def _with_tokens() -> PreTrainedTokenizerFast:
    """Two bytes that no text has are the marks."""
    backing = byte_tokenizer()
    backing.add_special_tokens({"additional_special_tokens": list(TOKENS)})
    assert len(backing) == VOCAB
    return backing


@pytest.mark.parametrize("options", [{}, {"grammar": FORMS["schema"][0]}, {"tools": [TOOL], "tool_choice": "required"}])
@pytest.mark.parametrize("reasoning", ["on", "auto"])
def test_a_bounded_thought(monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], reasoning: str) -> None:
    """Where the template opens it and where the model does; forms and calls come behind it."""
    monkeypatch.setattr(toy, "byte_tokenizer", _with_tokens)
    begin, end = (int(_with_tokens().convert_tokens_to_ids(mark)) for mark in TOKENS)
    target = ToyModel(context=512)
    answer_format = AnswerFormat(TOOL_FORMATS["hermes"], TOKENS, dict(zip(TOKENS, (begin, end), strict=True)))
    template = THINKING.replace(THINK[0], TOKENS[0]).replace(THINK[1], TOKENS[1])
    with toy_engine("near", "grammar", answer_format=answer_format, template=template, target=target) as engine:
        bias = {end: -100.0} | ({begin: 100.0} if reasoning == "auto" else {})
        shape = {"max_reasoning_tokens": 7, "logit_bias": bias, "reasoning": reasoning, "max_tokens": 120}
        for answer in _ask(engine, 2, **shape, **options):
            opened = int(reasoning == "auto")
            assert answer.token_ids[opened + 7] == end
            assert end not in answer.token_ids[: opened + 7]
            assert answer.usage.reasoning_tokens == 7
            assert answer.message.reasoning
            assert answer.message.content or answer.message.tool_calls


def test_a_bound_needs_an_end_that_is_a_token(engine: LocalEngine) -> None:
    with pytest.raises(InvalidRequest, match=r"max_reasoning_tokens is 7; expected None: .* is no token"):
        engine.generate(CHAT, max_reasoning_tokens=7)


def test_a_required_call_comes_behind_the_thought(engine: LocalEngine) -> None:
    for answer in _ask(engine, 3, tools=[TOOL], tool_choice="rest"):
        assert answer.message.reasoning
        assert [call.name for call in answer.message.tool_calls] == ["rest"]
        assert not answer.message.content


def test_channels() -> None:
    """Of Harmony: a thought, then a call or a form, each as a message of its own."""
    target, ending = ToyModel(context=512), byte_tokenizer().encode("<|end|>")
    for before, letter, following in zip(ending, ending[1:], ending[2:], strict=False):
        target.first[letter, following] += 30
        target.second[before, following] += 60
    target.first[:, ending[0]] += 4
    target.first[ending[0], ending[1]] += 60
    target.first[ending[-1], ending[3]] -= 200
    answer_format = AnswerFormat.harmony(TOOL_FORMATS["harmony"], {})
    form, pattern = FORMS["schema"]
    with toy_engine("near", "grammar", answer_format=answer_format, template=THINKING, target=target) as engine:
        for answer in _ask(engine, 1, grammar=form, reasoning="auto"):
            assert "<|channel|>final<|message|>" in answer.text
            assert re.fullmatch(pattern, answer.message.content or "")
        for answer in _ask(engine, 2, tools=[TOOL], tool_choice="required", reasoning="auto"):
            assert [(call.name, call.arguments) for call in answer.message.tool_calls] == [("rest", "{}")]
            assert not answer.message.content
