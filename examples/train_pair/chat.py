"""The chat format: the template that ships with the tokenizer, and a fast equal of it for training.

Contract: `render(messages, tools)` gives the very string that `tokenizer.apply_chat_template` gives for the same
arguments (a test holds them together).
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from .world.sample import Json, Message, Sample

END_OF_TEXT, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
SPECIAL = (END_OF_TEXT, START, END)
VISIBLE = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<tools>", "</tools>")
"""Tokens of their own that decoding shows, since a tool-call parser has to see them."""

TOOLS_LEAD = (
    "These tools can be called. To call one, write its name and arguments as JSON inside <tool_call></tool_call>."
)

TEMPLATE = (
    r"""{%- set lead = messages[0].content if messages and messages[0].role == 'system' else '' -%}
{%- if tools -%}
<|im_start|>system
{{ lead + '\n\n' if lead else '' }}"""
    + TOOLS_LEAD
    + r"""
<tools>
{%- for tool in tools -%}
{{ '\n' }}{{ tool | tojson }}
{%- endfor -%}
{{ '\n' }}</tools><|im_end|>
{% elif lead -%}
<|im_start|>system
{{ lead }}<|im_end|>
{% endif -%}
{%- for message in messages -%}
{%- if message.role == 'system' and not loop.first -%}
<|im_start|>system
{{ message.content }}<|im_end|>
{% elif message.role == 'user' -%}
<|im_start|>user
{{ message.content }}<|im_end|>
{% elif message.role == 'assistant' -%}
<|im_start|>assistant
{{ message.content if message.content else '' }}
{%- for call in message.tool_calls or [] -%}
{%- set call = call.function if call.function is defined else call -%}
{{ '\n' if message.content or not loop.first else '' }}<tool_call>
{{ '{"name": ' + (call.name | tojson) + ', "arguments": ' }}
{{- call.arguments if call.arguments is string else call.arguments | tojson }}}
</tool_call>
{%- endfor -%}
<|im_end|>
{% elif message.role == 'tool' -%}
{%- if loop.first or messages[loop.index0 - 1].role != 'tool' -%}
<|im_start|>user
{% else -%}
{{ '\n' }}
{%- endif -%}
<tool_response>
{{ message.content }}
</tool_response>
{%- if loop.last or messages[loop.index0 + 1].role != 'tool' -%}
<|im_end|>
{% endif -%}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
<|im_start|>assistant
{% endif -%}
"""
)


def _turn(role: str, body: str) -> str:
    return f"{START}{role}\n{body}{END}\n"


def _call(call: Json) -> str:
    inner = call.get("function", call)
    given = inner["arguments"]
    arguments = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
    name = json.dumps(inner["name"], ensure_ascii=False)
    return f'<tool_call>\n{{"name": {name}, "arguments": {arguments}}}\n</tool_call>'


def _assistant(message: Message) -> str:
    parts = [message["content"]] if message["content"] else []
    return _turn("assistant", "\n".join([*parts, *(_call(c) for c in message.get("tool_calls") or [])]))


def _system(messages: Sequence[Message], tools: Sequence[Json]) -> str:
    lead = (messages[0]["content"] or "") if messages and messages[0]["role"] == "system" else ""
    if not tools:
        return _turn("system", lead) if lead else ""
    shown = "\n".join(json.dumps(t, ensure_ascii=False) for t in tools)
    return _turn("system", f"{lead}{chr(10) * 2 if lead else ''}{TOOLS_LEAD}\n<tools>\n{shown}\n</tools>")


def render(messages: Sequence[Message], tools: Sequence[Json] = (), prompt: bool = False) -> str:
    """The chat as text; `prompt` opens the assistant's next turn."""
    out = [_system(messages, tools)]
    results: list[str] = []
    for index, message in enumerate(messages):
        role, content = message["role"], message["content"]
        if role == "tool":
            results.append(f"<tool_response>\n{content}\n</tool_response>")
            if index + 1 == len(messages) or messages[index + 1]["role"] != "tool":
                out.append(_turn("user", "\n".join(results)))
                results.clear()
        elif role == "assistant":
            out.append(_assistant(message))
        elif role == "user" or index:
            out.append(_turn(role, content or ""))
    return "".join(out) + (f"{START}assistant\n" if prompt else "")


def document(sample: Sample) -> str:
    """A training record as text."""
    return render(sample.messages, sample.tools) if sample.messages else sample.text
