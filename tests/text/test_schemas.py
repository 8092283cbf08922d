"""Schemas as frameworks make them."""

from __future__ import annotations

from typing import Any

import pytest

from specdec.text.schemas import parameters, resolved

LEAF = {"type": "object", "properties": {"next": {"$ref": "#/$defs/Leaf"}}}


@pytest.mark.parametrize("table", ["$defs", "definitions"])
def test_a_reference_at_the_root_is_what_it_names(table: str) -> None:
    schema = {table: {"Leaf": LEAF}, "$ref": f"#/{table}/Leaf"}
    assert resolved(schema) == {table: {"Leaf": LEAF}, **LEAF}
    assert parameters({"parameters": schema})["properties"] == LEAF["properties"]


@pytest.mark.parametrize("schema", [
    LEAF,
    {"$ref": "#/$defs/Twig", "$defs": {"Leaf": LEAF}},
    {"$ref": "#/$defs/Leaf", "$defs": {"Leaf": True}},
    {"$ref": "#/$defs/Leaf", "$defs": ["Leaf"]},
    {"$ref": "#"},
    {"$ref": 3},
])  # fmt: skip
def test_any_other_schema_is_as_it_was(schema: dict[str, Any]) -> None:
    assert resolved(schema) == schema
