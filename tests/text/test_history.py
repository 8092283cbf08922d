"""What an assistant did before reaches the model, however its template wants to be told."""

from __future__ import annotations

import pytest

from specdec.errors import InvalidRequest
from specdec.text.tokenizer import Tokenizer
from specdec.types import Message, ToolCall
from tests.text.conftest import byte_level

ADD, SUB = ToolCall("c1", "add", '{"a": 1}'), ToolCall("c2", "sub", '{"b": 2}')
ONCE = """{% for m in messages %}{% if m.tool_calls %}{% if m.tool_calls|length > 1 %}{{ raise_exception('one') }}
{% endif %}[{{ m.tool_calls[0].function.name }}]{% else %}{{ m.role }}:{{ m.content }};{% endif %}{% endfor %}"""
FAMILIES = {
    "raises": '{# Environment: ipython "parameters" #}' + ONCE,
    "leaves out": "{# <|start|><|channel|><|message|>functions. #}" + ONCE.replace("m.tool_calls|length > 1", "false"),
}
"""With the signs of Llama 3 and of gpt-oss."""


@pytest.fixture
def chatty() -> Tokenizer:
    return byte_level()


@pytest.mark.parametrize("name", FAMILIES)
def test_one_call_a_turn(chatty: Tokenizer, name: str) -> None:
    """With its result behind it; a result of no call comes last."""
    chatty._backing.chat_template = FAMILIES[name]
    results = [Message("tool", text, tool_call_id=call) for text, call in (("2", "c2"), ("1", "c1"), ("0", "c9"))]
    chat = [Message("user", "x"), Message("assistant", "So.", tool_calls=(ADD, SUB)), *results, Message("user", "y")]
    assert chatty.chat(chat).text.replace("\n", "") == "user:x;[add]tool:1;[sub]tool:2;tool:0;user:y;"


def test_several_calls_stay_one_turn_where_the_template_takes_them(chatty: Tokenizer) -> None:
    chatty._backing.chat_template = "<tool_call>{{ messages[1].tool_calls|length }}"
    chat = [Message("user", "x"), Message("assistant", None, tool_calls=(ADD, SUB))]
    assert chatty.chat(chat).text == "<tool_call>2"


@pytest.mark.parametrize("read", [
    "m.reasoning_content", "m['reasoning_content'] or m.thinking", "m.reasoning", "m.get('reasoning')", "m.thinking",
])  # fmt: skip
def test_thoughts_are_where_the_template_reads_them(chatty: Tokenizer, read: str) -> None:
    chatty._backing.chat_template = f"{{% for m in messages %}}<{{{{ {read} }}}}>{{% endfor %}}"
    assert chatty.chat([Message("assistant", "Yes", reasoning="Hm")]).text == "<Hm>"


def test_thoughts_are_parts_of_the_content_as_mistral_has_them(chatty: Tokenizer) -> None:
    part = "{% if p['type'] == 'thinking' %}[{{ p['thinking'] }}]{% else %}{{ p['text'] }}{% endif %}"
    whole = (
        "{% if m.content is string %}{{ m.content }}{% else %}{% for p in m.content %}"
        + part
        + "{% endfor %}{% endif %}"
    )
    chatty._backing.chat_template = f"{{% for m in messages %}}{whole};{{% endfor %}}"
    chat = [Message("user", "x"), Message("assistant", "Yes", reasoning="Hm"), Message("assistant", "", reasoning="So")]
    assert chatty.chat([*chat, Message("assistant", "No")]).text == "x;[Hm]Yes;[So];No;"


def test_a_thought_takes_in_what_was_said_where_both_are_refused(chatty: Tokenizer) -> None:
    """As gpt-oss' template has it, which writes what was said before a call as a thought."""
    both = "{% if m.content and m.thinking %}{{ raise_exception('not both') }}{% endif %}"
    body = "{{ m.thinking }}|{{ m.content }}|{{ m.tool_calls|length }}"
    chatty._backing.chat_template = f"{{% for m in messages %}}{both}{body}{{% endfor %}}"
    turn = Message("assistant", "I add.", tool_calls=(ADD,), reasoning="Hm.")
    assert chatty.chat([turn]).text == "Hm.\n\nI add.||1"
    with pytest.raises(InvalidRequest, match="not both"):
        chatty.chat([Message("assistant", "Yes", reasoning="Hm.")])
