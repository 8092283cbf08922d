"""The grammar of an answer takes what templates write of calls, and no call that its schema forbids."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest

from specdec.errors import InvalidRequest
from specdec.grammars.compiler import GrammarCompiler
from specdec.grammars.tools import answer_grammar
from specdec.text.tokenizer import Tokenizer
from specdec.text.tools.formats import HARMONY_MARKS
from specdec.types import Grammar
from tests.decoding.toy import EOS, VOCAB, byte_tokenizer
from tests.text.tools.written import CALLS, HEADED, WRITTEN, answer_format, marks_in, thought


def _tool(name: str, properties: dict[str, Any], *, strict: bool = False) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": [key for key in properties if key != "c"]}
    return {"type": "function", "function": {"name": name, "parameters": parameters, "strict": strict}}


TOOLS = [
    _tool("add", {"a": {"type": "integer"}, "b": {"type": "array"}, "c": {"type": ["string", "null"]}}),
    _tool("say", {"loud": {"type": "boolean"}, "text": {"type": "string"}}),
    _tool("sub", {}),
]


def _takes(
    family: str, written: str, choice: str = "required", tools: Any = TOOLS, special: Sequence[str] = (), **more: Any
) -> bool:
    """`special` are marks that are tokens."""
    backing = byte_tokenizer()
    backing.add_special_tokens({"additional_special_tokens": list(special)})
    tokenizer = Tokenizer(backing)
    ids = {mark: int(backing.convert_tokens_to_ids(mark)) for mark in special}
    grammar = answer_grammar(answer_format(family, ids), tools, choice, **more)
    matcher = GrammarCompiler(tokenizer, VOCAB + len(ids), [EOS]).matcher(grammar, ignore_eos=False)
    return matcher.allowed([*tokenizer.encode_plain(written), EOS]) == len(tokenizer.encode_plain(written)) + 1


@pytest.mark.parametrize("marked", [True, False], ids=["tokens", "text"])
@pytest.mark.parametrize("family", HEADED)
def test_takes_what_templates_write(family: str, marked: bool) -> None:
    text = WRITTEN[family]
    special = marks_in(thought(family, "") + text) if marked else []
    takes = partial(_takes, family, special=special)
    assert takes(text)
    assert takes(thought(family, "hm") + text)
    assert takes(f"Well.\n\n{text}", "auto")
    assert not takes("Well.")
    for name, other in (("add", "edd"), ("say", "saw")):
        assert not takes(text.replace(name, other))
    for call, _ in CALLS:
        assert not takes(text, call), "one call of that tool is asked for"


@pytest.mark.parametrize("family", HEADED)
def test_holds_calls_to_their_schema(family: str) -> None:
    text = WRITTEN[family]
    for right, wrong in (("true", '"yes"'), ("[2", "2["), ("loud", "load")):
        assert not _takes(family, text.replace(right, wrong)), right


@pytest.mark.parametrize("special", [HARMONY_MARKS, ()], ids=["tokens", "text"])
def test_channels(special: Sequence[str]) -> None:
    def takes(text: str, choice: str = "auto", form: Grammar | None = None) -> bool:
        return _takes("harmony", text, choice, TOOLS if form is None else [], special, text=form)

    thought = "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant"
    final = "<|channel|>final<|message|>"
    call = '<|channel|>commentary to=functions.say <|constrain|>json<|message|>{"loud": true, "text": "a"}'
    lead = "<|channel|>commentary<|message|>Well.<|end|><|start|>assistant"
    assert all(takes(thought + rest) for rest in (final + "Yes.", call, lead + call))
    assert takes(thought + call, "required") and takes(call, "say")
    assert not takes(thought + final + "Yes.", "required")
    assert not takes(thought + call.replace("true", "1"))
    assert not takes(thought + call, "add")
    form = Grammar.json_schema({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]})
    assert takes(f'{thought}{final}{{"a": 1}}', form=form)
    assert not takes(f"{thought}{final}a", form=form)
    assert not takes('{"a": 1}', form=form)


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
