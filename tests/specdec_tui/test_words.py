"""Text that reaches the screen or leaves it: safe, completed, exported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from specdec.errors import InvalidRequest
from specdec.types import Message
from specdec_tui.commands import SlashCommands
from specdec_tui.core.code import as_markdown, code_blocks
from specdec_tui.core.commands import COMMANDS, complete, parse
from specdec_tui.core.conversation import Conversation
from specdec_tui.core.export import export
from specdec_tui.core.models import models
from specdec_tui.core.safe import one_line, safe

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\rover\x00\u202egnp.exe\u2066"


def test_nothing_a_terminal_obeys_is_left() -> None:
    shown = safe(HOSTILE)
    assert shown.startswith("␛]0;owned␇␛[2J")
    assert not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 or c in "\u202e\u2066" for c in shown)
    assert safe("a\r\nb\tc") == "a\nb\tc"


def test_messages_are_one_short_line() -> None:
    assert one_line("a\n\n b\x1b", 99) == "a b␛"
    assert len(one_line("x" * 1000)) == 300


def test_commands_are_read() -> None:
    assert parse("/set temperature 0.7 ") == ("set", "temperature 0.7")
    with pytest.raises(InvalidRequest, match="expected /compare, or one of /help"):
        parse("/compar")
    with pytest.raises(InvalidRequest, match="expected one of /help"):
        parse("/zzz")


def test_every_command_is_done_by_a_method() -> None:
    assert all(hasattr(SlashCommands, f"do_{c.name}") for c in COMMANDS)


def _choices(kind: str) -> list[str]:
    return {"setting": ["temperature", "top_p", "top_k"], "theme": ["dark", "light"]}.get(kind, [])


@pytest.mark.parametrize(
    ("line", "lines"),
    [
        ("/te", []), ("/gau", ["/gauge"]), ("/se", ["/sessions ", "/set "]), ("/set top", ["/set top_p", "/set top_k"]),
        ("/theme light", []), ("/nothing x", []), ("no command", []), ("/set\nx", []),
    ],
)  # fmt: skip
def test_lines_are_completed(line: str, lines: list[str]) -> None:
    assert [c.line for c in complete(line, _choices)] == lines


def test_code_blocks_and_json() -> None:
    text = "A\n```py\nx = 1\n```\nB\n~~~\ny\n~~~\n```\nopen"
    assert code_blocks(text) == ["x = 1", "y", "open"]
    assert as_markdown('{"a": [1]}') == '```json\n{\n  "a": [\n    1\n  ]\n}\n```'
    assert as_markdown("[not json") == "[not json"
    assert as_markdown("[" * 100_000) == "[" * 100_000


def test_exports(tmp_path: Path) -> None:
    talk = Conversation()
    prompt = talk.add(Message("user", "Hi\x1b"), None)
    talk.add(Message("assistant", "Hello", reasoning="Polite."), prompt.id, "cancelled", tokens=1)
    export(tmp_path / "a.md", "Title", "Be brief.", talk.path())
    assert (tmp_path / "a.md").read_text().splitlines()[:5] == ["# Title", "", "> Be brief.", "", "## You"]
    assert "Hi␛" in (tmp_path / "a.md").read_text()
    assert "*(cancelled)*" in (tmp_path / "a.md").read_text()
    export(tmp_path / "a.json", "Title", None, talk.path())
    turns = json.loads((tmp_path / "a.json").read_text())["turns"]
    assert [t["message"]["content"] for t in turns] == ["Hi\x1b", "Hello"]
    with pytest.raises(FileExistsError):
        export(tmp_path / "a.md", "Title", None, [])


def test_models_are_found_without_loading_any(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    for folder in (
        "hub/models--org--name/snapshots/1",
        "hub/models--org--empty/snapshots",
        "mine/small",
        "mine/no",
    ):
        (tmp_path / folder).mkdir(parents=True)
    for folder in ("hub/models--org--name/snapshots/1", "mine/small"):
        (tmp_path / folder / "config.json").write_text("{}")
    found = [m.name for m in models([tmp_path / "mine", tmp_path / "missing"])]
    assert found == ["bundled", "org/name", str(tmp_path / "mine" / "small")]
