"""Families are known by their templates."""

from __future__ import annotations

import pytest

from specdec.errors import InvalidRequest
from specdec.text.tools.families import FAMILIES, Dialect

HERMES = "{% if tools %}<tools>{% endif %}<tool_call>{{ call.name }}</tool_call>"
LLAMA = 'Environment: ipython {"name": function name, "parameters": dictionary}'
MISTRAL = "[AVAILABLE_TOOLS]{{ tools }}[/AVAILABLE_TOOLS] [TOOL_CALLS] ["


@pytest.mark.parametrize(("template", "family"), [
    (HERMES, "hermes"), (LLAMA, "llama3"), (MISTRAL, "mistral"), ("{{ messages }}", None), ("", None),
    ("<tool_call>\n<function=name>", None), ("[TOOL_CALLS]name[ARGS]", None),
])  # fmt: skip
def test_detected(template: str, family: str | None) -> None:
    found = Dialect.of("auto", template, {}).family
    assert (found and found.name) == family


def test_selected() -> None:
    assert Dialect.of("mistral", HERMES, {}).family is FAMILIES["mistral"]
    assert Dialect.of("none", HERMES, {}).family is None
    with pytest.raises(InvalidRequest, match="tool_format is 'xml'; expected auto, none, hermes"):
        Dialect.of("xml", HERMES, {})


def test_reasoning_and_tokens() -> None:
    dialect = Dialect.of("auto", HERMES + "<think></think>", {"<tool_call>": 5, "<think>": 7, "<s>": 1})
    assert dialect.thought == ("<think>", "</think>")
    assert dialect.ids == {"<tool_call>": 5, "<think>": 7}
    assert dialect.opened("user: hi\n<think>\n")
    assert not dialect.opened("<think></think>\n\n")
