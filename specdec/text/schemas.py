"""JSON schemas as frameworks make them, made fit for constrained writing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_OPEN = {"additionalProperties", "patternProperties", "unevaluatedProperties", "$ref", "allOf", "anyOf", "oneOf"}
"""Where one of these stands, the object is not described by its properties alone."""
_TABLES = ("properties", "$defs", "definitions")
_LISTS = ("anyOf", "oneOf", "prefixItems")


def closed(schema: Any) -> Any:
    """The same, but objects hold the properties that they name and no others, unless the schema speaks of others.

    What is valid by it is valid by `schema`. Without this a model may go on inventing properties, as schemas allow.
    """
    if not isinstance(schema, Mapping):
        return schema
    out: dict[Any, Any] = {}
    for key, value in schema.items():
        if key in _TABLES and isinstance(value, Mapping):
            out[key] = {name: closed(inner) for name, inner in value.items()}
        elif key in _LISTS and isinstance(value, list):
            out[key] = [closed(inner) for inner in value]
        else:
            out[key] = closed(value) if key in ("items", "additionalProperties") else value
    if "properties" in out and not _OPEN & out.keys():
        out["additionalProperties"] = False
    return out


def resolved(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A schema that is but a reference into its own table, as that of a class that refers to itself: what the reference
    names, with the table. Any other as it is."""
    match str(schema.get("$ref")).split("/"):
        case ["#", "$defs" | "definitions" as table, name]:
            parts = schema.get(table)
            named = parts.get(name) if isinstance(parts, Mapping) else None
            if isinstance(named, Mapping):
                return {key: value for key, value in schema.items() if key != "$ref"} | dict(named)
    return dict(schema)


def parameters(function: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a tool's arguments: an object, closed."""
    schema = {"type": "object", "properties": {}} | resolved(function.get("parameters") or {})
    return dict(closed(schema))
