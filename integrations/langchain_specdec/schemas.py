"""Tools and forms in OpenAI's form, as LangChain writes them, but for what refers to itself.

LangChain writes the schemas that are referred to in place, and leaves a gap where that has no end: any value would do
there. The grammar takes references as they are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

from langchain_core.tools import BaseTool, create_schema_from_function
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic import BaseModel

from specdec.text.schemas import resolved

Tool = dict[str, Any] | type | Callable[..., Any] | BaseTool
_TABLES = ("$defs", "definitions")


def openai_tool(tool: Tool, *, strict: bool | None = None) -> dict[str, Any]:
    """What a request's `tools` take."""
    if isinstance(tool, dict):
        tool = resolved(tool)
    formatted = convert_to_openai_tool(tool, strict=strict)
    schema = _schema(tool)
    if _is_circular(schema):
        own = {k: v for k, v in resolved(schema).items() if k not in ("title", "description")}
        formatted["function"]["parameters"] = own
    return formatted


def json_schema(schema: dict[str, Any] | type, *, strict: bool | None = None) -> dict[str, Any]:
    """What an answer is held to, with its name as the title."""
    function = openai_tool(schema, strict=strict)["function"]
    return {"title": function["name"], **function.get("parameters", {})}


def _schema(tool: Tool) -> Mapping[str, Any]:
    """Before LangChain rewrites it; empty where it does not."""
    if isinstance(tool, BaseTool):
        tool = tool.tool_call_schema
        if isinstance(tool, dict):
            return tool
    elif not isinstance(tool, dict | type):
        tool = create_schema_from_function(
            tool.__name__,
            tool,
            parse_docstring=True,
            error_on_invalid_docstring=False,
            include_injected=False,
        )
    return tool.model_json_schema() if isinstance(tool, type) and issubclass(tool, BaseModel) else {}


def _is_circular(schema: Mapping[str, Any]) -> bool:
    named = {f"#/{table}/{name}": part for table in _TABLES for name, part in schema.get(table, {}).items()}
    parts = named | {"#": {key: part for key, part in schema.items() if key not in _TABLES}}
    graph = {place: re.findall(r'"\$ref": "(#[^"]*)"', json.dumps(part)) for place, part in parts.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError:
        return True
    return False
