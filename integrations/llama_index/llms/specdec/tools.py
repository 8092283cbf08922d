"""Tools: from LlamaIndex's to the schemas of a request, and from an answer back to what should be called."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal

from llama_index.core.base.llms.types import ChatResponse, ToolCallBlock
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.tools.types import BaseTool
from pydantic_core import from_json

from specdec.errors import InvalidRequest
from specdec.text.schemas import resolved


def tool_schemas(tools: Sequence[BaseTool | Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The tools in OpenAI's form, each under its own name: the caller looks it up by that."""
    schemas: list[Mapping[str, Any]] = []
    for tool in tools:
        if isinstance(tool, Mapping):
            schemas.append(tool)
            continue
        if not isinstance(tool, BaseTool):
            raise InvalidRequest("tools", tool, "LlamaIndex tools, or schemas in OpenAI's form")
        about = tool.metadata
        parameters = about.get_parameters_dict()
        if about.fn_schema is not None and "$ref" in (own := about.fn_schema.model_json_schema()):
            parameters = resolved(own)  # of a class that refers to itself the framework leaves its table alone
        function = {"name": about.name, "description": about.description, "parameters": parameters}
        schemas.append({"type": "function", "function": function})
    return schemas


def tool_choice_of(value: str | Mapping[str, Any] | None, *, required: bool) -> str:
    """A request's tool choice: "auto", "none", "required" or a tool's name."""
    if value is None:
        return "required" if required else "auto"
    if isinstance(value, str):
        return "required" if value == "any" else value
    function = value.get("function")
    name = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(name, str):
        raise InvalidRequest("tool_choice", value, "auto, none, required or a tool's name")
    return name


def selections(response: ChatResponse) -> list[ToolSelection]:
    """What the answer calls. While it streams, a half-written call counts with what there is of its arguments. In a
    finished answer it was cut and does not count: nothing should be called with half an argument."""
    partial: Literal[False, "trailing-strings"] = "trailing-strings" if response.raw is None else False
    found: list[ToolSelection] = []
    for block in response.message.blocks:
        if not isinstance(block, ToolCallBlock):
            continue
        given = block.tool_kwargs
        kwargs = given if isinstance(given, dict) else parsed(given, partial=partial)
        if kwargs is not None or partial:
            call = ToolSelection(tool_id=block.tool_call_id or "", tool_name=block.tool_name, tool_kwargs=kwargs or {})
            found.append(call)
    return found


def parsed(text: str, *, partial: Literal[False, "trailing-strings"]) -> dict[str, Any] | None:
    """The JSON object in `text`, or None where there is none; `partial` takes the beginning of one, too."""
    with suppress(ValueError):
        value = from_json(text, allow_partial=partial)
        return value if isinstance(value, dict) else None
    return None
