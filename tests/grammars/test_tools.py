"""The grammar of an answer takes what templates write of calls, and no call that its schema forbids."""

from __future__ import annotations

from typing import Any

import pytest

from specdec.errors import InvalidRequest
from specdec.grammars.compiler import GrammarCompiler
from specdec.grammars.tools import answer_grammar
from specdec.text.tokenizer import Tokenizer
from specdec.text.tools.formats import TOOL_FORMATS, AnswerFormat
from specdec.types import Grammar
from tests.decoding.toy import EOS, VOCAB, byte_tokenizer
from tests.text.tools.test_heads import CALLS, THINK, WRITTEN


def _tool(name: str, properties: dict[str, Any], *, strict: bool = False) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": [key for key in properties if key != "c"]}
    return {"type": "function", "function": {"name": name, "parameters": parameters, "strict": strict}}


TOOLS = [
    _tool("add", {"a": {"type": "integer"}, "b": {"type": "array"}, "c": {"type": ["string", "null"]}}),
    _tool("say", {"text": {"type": "string"}, "loud": {"type": "boolean"}}),
    _tool("sub", {}),
]


def _takes(family: str, text: str, choice: str = "required", tools: Any = TOOLS) -> bool:
    tokenizer = Tokenizer(byte_tokenizer())
    grammar = answer_grammar(AnswerFormat(TOOL_FORMATS[family], THINK), tools, choice)
    matcher = GrammarCompiler(tokenizer, VOCAB, [EOS]).matcher(grammar, ignore_eos=False)
    return matcher.allowed([*tokenizer.encode_plain(text), EOS]) == len(tokenizer.encode_plain(text)) + 1


@pytest.mark.parametrize("family", WRITTEN)
def test_takes_what_templates_write(family: str) -> None:
    text = WRITTEN[family]
    assert _takes(family, text)
    assert _takes(family, f"<think>hm</think>\n\n{text}")
    assert _takes(family, f"Well.\n\n{text}", "auto")
    assert not _takes(family, "Well.")
    for name, other in (("add", "edd"), ("say", "saw")):
        assert not _takes(family, text.replace(name, other))
    for call, _ in CALLS:
        assert not _takes(family, text, call), "one call of that tool is asked for"


@pytest.mark.parametrize("family", WRITTEN)
def test_holds_calls_to_their_schema(family: str) -> None:
    text = WRITTEN[family]
    for right, wrong in (("true", '"yes"'), ("[2, ", "2, ["), ("loud", "load")):
        assert not _takes(family, text.replace(right, wrong)), right


def _harmony(text: str, choice: str = "auto", form: Grammar | None = None) -> bool:
    tokenizer = Tokenizer(byte_tokenizer())
    answer_format = AnswerFormat.harmony(TOOL_FORMATS["harmony"], {})
    grammar = answer_grammar(answer_format, TOOLS if form is None else [], choice, text=form)
    matcher = GrammarCompiler(tokenizer, VOCAB, [EOS]).matcher(grammar, ignore_eos=False)
    return matcher.allowed([*tokenizer.encode_plain(text), EOS]) == len(tokenizer.encode_plain(text)) + 1


def test_channels() -> None:
    thought = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant"
    final = "<|channel|>final<|message|>"
    call = '<|channel|>commentary to=functions.say <|constrain|>json<|message|>{"text": "a", "loud": true}'
    lead = "<|channel|>commentary<|message|>Well.<|end|><|start|>assistant"
    assert all(_harmony(thought + rest) for rest in (final + "Yes.", call, lead + call))
    assert _harmony(thought + call, "required") and _harmony(call, "say")
    assert not _harmony(thought + final + "Yes.", "required")
    assert not _harmony(thought + call.replace("true", "1"))
    assert not _harmony(thought + call, "add")
    form = Grammar.json_schema({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]})
    assert _harmony(f'{thought}{final}{{"a": 1}}', form=form)
    assert not _harmony(f"{thought}{final}a", form=form)
    assert not _harmony('{"a": 1}', form=form)


@pytest.mark.parametrize("family", ["qwen_xml", "glm"])
def test_texts_without_quotes(family: str) -> None:
    """Options are held; what cannot be is refused where the tool is strict."""
    colour = {"type": "string", "enum": ["red", "blue"]}
    said = WRITTEN[family].replace("sub", "dye")
    pair = {
        "qwen_xml": "<parameter=colour>\n{}\n</parameter>\n",
        "glm": "<arg_key>colour</arg_key>\n<arg_value>{}</arg_value>\n",
    }
    start, end = {"qwen_xml": ("<function=dye>\n", "</function>"), "glm": ("dye\n", "</tool_call>")}[family]
    tools = [*TOOLS, _tool("dye", {"colour": colour})]
    assert _takes(family, said.replace(f"{start}{end}", start + pair[family].format("blue") + end), tools=tools)
    assert not _takes(family, said.replace(f"{start}{end}", start + pair[family].format("pink") + end), tools=tools)
    with pytest.raises(InvalidRequest, match="pattern"):
        _takes(family, "", tools=[_tool("dye", {"colour": {"type": "string", "pattern": "b"}}, strict=True)])
