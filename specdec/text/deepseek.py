"""Chat templates for checkpoints of DeepSeek V3.2 and V4, which bring an encoder in Python instead of one.

Their marks and shapes are written down here. What they tell the model of its tools is the checkpoint's own text, read
from its encoder, which is never run; where that is missing, it is told in our words.
"""

from __future__ import annotations

import ast
import json
from contextlib import suppress
from pathlib import Path

_JSON = json.JSONEncoder(ensure_ascii=False)
_SCHEMAS = "{tool_schemas}"
_FIELDS = {
    "dsml_token": "｜DSML｜",
    "thinking_start_token": "<think>",
    "thinking_end_token": "</think>",
    "tool_schemas": _SCHEMAS,
}
"""What an encoder fills into its text about tools."""
_TOOLS = """## Tools

A tool is called by a block of this form, which may hold several calls:

<｜DSML｜{block}>
<｜DSML｜invoke name="TOOL">
<｜DSML｜parameter name="ARGUMENT" string="true">TEXT</｜DSML｜parameter>
<｜DSML｜parameter name="ARGUMENT" string="false">JSON</｜DSML｜parameter>
</｜DSML｜invoke>
</｜DSML｜{block}>

A text is written as it is, behind string="true", and any other value as JSON, behind string="false".

These are the tools:

{tool_schemas}
"""
_BLOCKS = {"deepseek_v32": "function_calls", "deepseek_v4": "tool_calls"}
"""How a block of calls is named, by the type of a model."""
_TEMPLATE = """
{%- macro calls(message) -%}
{{ '\\n\\n<｜DSML｜' ~ block ~ '>' }}
{%- for call in message.tool_calls -%}
{{ '\\n<｜DSML｜invoke name="' ~ call.function.name ~ '">\\n' }}
{%- for key, value in call.function.arguments | items -%}
{%- set text = value is string -%}
{{ '' if loop.first else '\\n' }}
{{- '<｜DSML｜parameter name="' ~ key ~ '" string="' ~ ('true' if text else 'false') ~ '">' }}
{{- value if text else value | tojson(ensure_ascii=False) }}{{ '</｜DSML｜parameter>' }}
{%- endfor -%}
{{ '\\n</｜DSML｜invoke>' }}
{%- endfor -%}
{{ '\\n</｜DSML｜' ~ block ~ '>' }}
{%- endmacro -%}
{%- set v32 = block == 'function_calls' -%}
{%- set thinks = thinking or enable_thinking -%}
{%- set asking = ['user'] if v32 else ['user', 'tool'] -%}
{%- set last = namespace(at=-1) -%}
{%- for message in messages -%}
{%- if message.role in asking -%}{%- set last.at = loop.index0 -%}{%- endif -%}
{%- endfor -%}
{{- '<｜begin▁of▁sentence｜>' ~ (messages[0].content if messages[0].role == 'system' else '') }}
{%- if tools -%}
{{ '\\n\\n' ~ before }}
{%- for tool in tools -%}
{{ '' if loop.first else '\\n' }}{{ tool.function | tojson(ensure_ascii=False) }}
{%- endfor -%}
{{ after }}
{%- endif -%}
{%- for message in messages -%}
{%- set open = thinks and (loop.index0 >= last.at or (tools and not v32)) -%}
{%- set mark = '<think>' if open else '</think>' -%}
{%- if message.role == 'assistant' -%}
{{ (message.reasoning_content or '') ~ '</think>' if open else '' }}{{ message.content or '' }}
{{- calls(message) if message.tool_calls else '' }}{{ '<｜end▁of▁sentence｜>' }}
{%- elif message.role == 'system' -%}
{{ '' if loop.first else raise_exception('a system message comes first') }}
{%- elif v32 and message.role == 'user' -%}
{{ '<｜User｜>' ~ message.content ~ '<｜Assistant｜>' ~ mark }}
{%- elif v32 -%}
{{ '\\n\\n<function_results>' if loop.first or loop.previtem.role != 'tool' else '' }}
{{- '\\n<result>' ~ message.content ~ '</result>' }}
{{- '\\n</function_results>\\n\\n' ~ mark if loop.last or loop.nextitem.role != 'tool' else '' }}
{%- else -%}
{{ '<｜User｜>' if loop.first or loop.previtem.role not in asking else '\\n\\n' }}
{{- message.content if message.role == 'user' else '<tool_result>' ~ message.content ~ '</tool_result>' }}
{{- '<｜Assistant｜>' ~ mark if loop.last or loop.nextitem.role == 'assistant' else '' }}
{%- endif -%}
{%- if loop.last and message.role in ['system', 'assistant'] and add_generation_prompt -%}
{{ '<｜Assistant｜>' ~ ('<think>' if thinks else '</think>') }}
{%- endif -%}
{%- endfor -%}
"""


def chat_template(folder: Path) -> str | None:
    """That of a checkpoint of these models; None for others."""
    try:
        block = _BLOCKS.get(json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"])
    except (OSError, ValueError, LookupError, TypeError):  # which is for the model's loader to say
        return None
    if block is None:
        return None
    before, _, after = _about_tools(folder, block).partition(_SCHEMAS)
    told = {"block": block, "before": before, "after": after}
    return "".join(f"{{%- set {name} = {_JSON.encode(text)} -%}}\n" for name, text in told.items()) + _TEMPLATE


def _about_tools(folder: Path, block: str) -> str:
    for file in sorted(folder.glob("encoding/encoding_*.py")):
        with suppress(OSError, ValueError, LookupError, SyntaxError, StopIteration):  # an encoder of another form
            nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
            texts = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
            return next(text for text in texts if _SCHEMAS in text).format(**_FIELDS)
    return _TOOLS.format(block=block, tool_schemas=_SCHEMAS)
