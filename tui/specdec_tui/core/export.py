"""A conversation as a file: Markdown to read, JSON to work with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from specdec_tui.core.conversation import Turn
from specdec_tui.core.safe import safe

_NAMES = {"user": "You", "assistant": "Answer", "tool": "Tool", "system": "System"}


def markdown(title: str, system: str | None, turns: Sequence[Turn]) -> str:
    """The shown path, a heading a turn; control characters made visible."""
    parts = [f"# {title}", *([f"> {system}"] if system else [])]
    for turn in turns:
        parts.append(f"## {_NAMES[turn.message.role]}")
        if turn.message.reasoning:
            parts.append(f"<details><summary>Reasoning</summary>\n\n{turn.message.reasoning}\n\n</details>")
        if turn.text:
            parts.append(turn.text)
        parts += [f"```json\n{c.name}({c.arguments})\n```" for c in turn.message.tool_calls]
        if turn.state != "done":
            parts.append(f"*({turn.state})*")
    return safe("\n\n".join(parts)) + "\n"


def as_json(title: str, system: str | None, turns: Sequence[Turn]) -> str:
    """Messages as engines take them, each with its state and figures."""
    messages = [{"message": asdict(t.message), "state": t.state, "figures": dict(t.figures)} for t in turns]
    return json.dumps({"title": title, "system": system, "turns": messages}, indent=1) + "\n"


def export(path: Path, title: str, system: str | None, turns: Sequence[Turn]) -> None:
    """JSON for a name that ends so, else Markdown. Never writes over a file."""
    write = as_json if path.suffix == ".json" else markdown
    with path.open("x", encoding="utf-8") as file:
        file.write(write(title, system, turns))
