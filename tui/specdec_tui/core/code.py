"""Code blocks of a Markdown text, and answers that are JSON."""

from __future__ import annotations

import json
import re

_FENCED = re.compile(r"^ {0,3}(`{3,}|~{3,})[^\n]*\n(.*?)(?:^ {0,3}\1[`~]*\s*$|\Z)", re.MULTILINE | re.DOTALL)


def code_blocks(text: str) -> list[str]:
    """What stands in its fences."""
    return [found[2].rstrip("\n") for found in _FENCED.finditer(text)]


def pretty_json(text: str) -> str | None:
    """JSON laid out to be read; None for what is no JSON object or list."""
    if text.lstrip()[:1] not in ("{", "["):
        return None
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return None


def as_markdown(text: str) -> str:
    """The text, or a JSON answer in a fence of its own."""
    pretty = pretty_json(text)
    return text if pretty is None else f"```json\n{pretty}\n```"
