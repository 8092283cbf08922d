"""What of a JSON schema llguidance can enforce: all but some keywords and formats, and parts of ECMAScript's regular
expressions."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

_VALUES = ("const", "default", "enum", "examples")
"""Keywords with data."""
_TABLES = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
"""Keywords with schemas by name, which may be any."""
_PIECE = re.compile(
    r"(?P<bound>\\[bB])|(?P<again>\\(?:[1-9]\d*|k<\w+>))|(?P<look>\(\?<?[=!])"
    r"|\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|.",
    re.DOTALL,
)


def as_llguidance_reads(schema: Any, *, strict: bool) -> dict[str, Any]:
    """The same with llguidance's options: JSON as `Grammar` has it, and whether keywords and formats that it cannot
    enforce are refused or warned of."""
    options = {
        "whitespace_flexible": False,
        "item_separator": ", ",
        "key_separator": ": ",
        "lenient": not strict,
        "coerce_one_of": not strict,
    }
    return (schema if isinstance(schema, dict) else {"allOf": [schema]}) | {"x-guidance": options}


class Loosening:
    """Makes schemas whose patterns are all taken, as `takes` tells. What is valid by a schema stays valid."""

    def __init__(self, takes: Callable[[Mapping[str, Any]], bool]) -> None:
        self._takes = takes
        self.lost: list[str] = []
        """What was loosened, by its keyword."""

    def schema(self, schema: Any) -> Any:
        """The same with wider patterns where these are not taken."""
        if isinstance(schema, list):
            return [self.schema(inner) for inner in schema]
        if not isinstance(schema, Mapping):
            return schema
        out: dict[Any, Any] = {}
        for key, value in schema.items():
            if key in _TABLES and isinstance(value, Mapping):
                out[key] = {name: self.schema(inner) for name, inner in value.items()}
            else:
                out[key] = value if key in _VALUES else self.schema(value)
        if isinstance(pattern := out.get("pattern"), str):
            ways = (pattern, without_assertions(pattern))
            out["pattern"] = next((way for way in ways if self._takes({"type": "string", "pattern": way})), "")
            self.lost += [f"pattern {pattern}"] if out["pattern"] != pattern else []
        if isinstance(names := out.get("patternProperties"), Mapping):
            named = {"type": "object", "patternProperties": {name: {} for name in names}}
            if not self._takes(named):  # a name that matches two patterns is not taken either
                self.lost.append("patternProperties")
                out |= {"patternProperties": {}, "additionalProperties": True}
        return out


def without_assertions(pattern: str) -> str:
    """The same, but look-around and word boundaries hold anywhere, and any text repeats what a group matched. It
    matches all that `pattern` does."""
    out, depth = "", 0  # how deep inside a look-around
    for piece in _PIECE.finditer(pattern):
        if depth:
            depth += piece[0].startswith("(") - (piece[0] == ")")
        elif piece["look"] or piece["bound"]:
            out, depth = out + "(?:)", int(piece["look"] is not None)
        else:
            out += "(?s:.*)" if piece["again"] else piece[0]
    return out
