"""JSON schemas as frameworks make them, made fit for constrained writing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_OPEN = (
    "additionalProperties",
    "patternProperties",
    "unevaluatedProperties",
    "$ref",
    "allOf",
    "anyOf",
    "oneOf",
)
"""Where one of these stands, the object is not described by its properties alone."""
_TABLES = ("properties", "$defs", "definitions")
_LISTS = ("anyOf", "oneOf", "prefixItems")


def closed(schema: Any) -> Any:
    """The same, but objects hold the properties that they name and no others, unless the schema speaks of others.

    What is valid by it is valid by `schema`. Without this a model may go on inventing properties, as schemas allow.
    """
    if not isinstance(schema, Mapping):
        return schema
    out = {key: _closed(key, value) for key, value in schema.items()}
    if "properties" in out and not any(key in out for key in _OPEN):
        out["additionalProperties"] = False
    return out


def _closed(key: str, value: Any) -> Any:
    if key in _TABLES and isinstance(value, Mapping):
        return {name: closed(inner) for name, inner in value.items()}
    if key in _LISTS and isinstance(value, list):
        return [closed(inner) for inner in value]
    return closed(value) if key in ("items", "additionalProperties") else value


def parameters(function: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a tool's arguments: an object, closed."""
    schema = {"type": "object", "properties": {}} | dict(function.get("parameters") or {})
    return dict(closed(schema))
