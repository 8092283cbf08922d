"""The keys of an endpoint: one from the environment, or several with names from a file."""

from __future__ import annotations

import os
from pathlib import Path

from specdec.cli.options import text_of
from specdec.errors import InvalidRequest

KEY_VARIABLE = "SPECDEC_API_KEY"
_NONE = "# none"
"""Stands for a variable that is not set; one that is set and empty is a mistake."""


def access_keys(file: Path | None) -> dict[str, str]:
    """By name: from the file's lines, each `KEY` or `NAME KEY`, else from the environment; none is no key at all.
    Keys that nobody could send are refused, and no message shows one."""
    text = os.environ.get(KEY_VARIABLE, _NONE) if file is None else text_of("api-key-file", file)
    where = str(file or KEY_VARIABLE)
    expected = "lines of KEY or NAME KEY, each a key of printable ASCII and a name of its own"
    keys: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        *names, key = line.split()
        name = names[0] if names else str(number)
        if not line.isascii() or not line.isprintable() or len(names) > bool(file) or name in keys:
            raise InvalidRequest("api-key", f"unusable, from {where}, line {number}", expected)
        keys[name] = key
    if not keys and (file or text != _NONE):
        raise InvalidRequest("api-key", f"empty, from {where}", expected)
    return keys
