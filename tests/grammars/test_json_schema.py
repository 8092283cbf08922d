from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from typing import Any

import pytest

from specdec.grammars.json_schema import Loosening, without_assertions

WIDER = {
    r"^(?=.*b)a.*$": "^(?:)a.*$",
    r"^(?!ab|(?:b[)]|c))[abc]+$": "^(?:)[abc]+$",
    r"(?<=a)b(?<!bb)c": "(?:)b(?:)c",
    r"\ba\B": "(?:)a(?:)",
    r"^(a|b)\1$": "^(a|b)(?s:.*)$",
    r"^[\](?=a]+$": r"^[\](?=a]+$",
    r"a\\b": r"a\\b",
    r"^(?:a|(b))(?P<x>c)?$": r"^(?:a|(b))(?P<x>c)?$",
}


@pytest.mark.parametrize("pattern", WIDER)
def test_without_assertions_a_pattern_matches_all_that_it_did(pattern: str) -> None:
    wider = without_assertions(pattern)
    assert wider == WIDER[pattern]
    texts = ["".join(letters) for n in range(5) for letters in itertools.product("abc(]", repeat=n)]
    matched = [text for text in texts if re.search(pattern, text)]
    assert all(re.search(wider, text) for text in matched)


def _loosened(schema: Any) -> tuple[Any, list[str]]:
    """By a matcher that knows neither look-around nor groups."""

    def takes(probe: Mapping[str, Any]) -> bool:
        patterns = probe.get("patternProperties", [probe.get("pattern")])
        return not re.search(r"\(\?[=!]|\([^?]", "".join(patterns))

    loosening = Loosening(takes)
    return loosening.schema(schema), loosening.lost


def test_patterns_are_found_wherever_schemas_stand() -> None:
    bad, good = {"pattern": "(?=a)b"}, {"pattern": "(?:)b"}
    for place in (
        lambda s: {"properties": {"pattern": s, "enum": s}},
        lambda s: {"items": {"anyOf": [s, {"prefixItems": [s]}]}, "$defs": {"default": s}},
        lambda s: {"additionalProperties": s, "components": {"schemas": {"x": s}}},
        lambda s: [s, True],
    ):
        schema, lost = _loosened(place(bad))
        assert schema == place(good)
        assert set(lost) == {"pattern (?=a)b"}


def test_data_and_what_is_taken_stay_as_they_are() -> None:
    bad = {"pattern": "(?=a)"}
    schema = {"pattern": "^a", "enum": [bad], "default": bad, "const": bad, "examples": [bad]}
    assert _loosened(schema) == (schema, [])
    assert _loosened({"pattern": 3}) == ({"pattern": 3}, [])


def test_a_pattern_that_is_not_taken_at_all_is_any() -> None:
    assert _loosened({"type": "string", "pattern": "(a)"}) == (
        {"type": "string", "pattern": ""},
        ["pattern (a)"],
    )


def test_patterns_of_names_are_all_kept_or_any_name_will_do() -> None:
    kept = {"patternProperties": {"^a": {"type": "string"}}, "additionalProperties": False}
    assert _loosened(kept) == (kept, [])
    schema, lost = _loosened({"patternProperties": {"^a": {}, "^(?!a)": {}}, "additionalProperties": False})
    assert schema == {"patternProperties": {}, "additionalProperties": True}
    assert lost == ["patternProperties"]
