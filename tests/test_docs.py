"""The pages: their Python is Python, the commands that they show exist, and so do the options."""

from __future__ import annotations

import re
import runpy
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer.main

from specdec.cli import app

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(page for page in DOCS.rglob("*.md") if "log" not in page.relative_to(DOCS).parts[0])
COMMANDS: dict[str, click.Command] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def _called(page: Path) -> Iterator[list[str]]:
    """The words of each line that calls the command, in a block or as code that stands alone."""
    text = page.read_text("utf-8")
    lines = [line.strip() for _, block in _BLOCK.findall(text) for line in block.splitlines()]
    lines += [line[4:] for line in text.splitlines() if line.startswith("    ")]
    lines += re.findall(r"`(specdec [^`\n]+)`", text)
    for line in lines:
        command = re.sub(r"^(\w+=\S+ )+", "", line)
        if command.startswith("specdec ") and "|" not in command:
            yield shlex.split(command, comments=True)[1:]


def test_the_architecture_names_what_exists() -> None:
    text = (DOCS / "architecture.md").read_text("utf-8")
    rooms = (DOCS.parent / name for name in ("specdec", "integrations", "tui", "tests"))
    files = [path for room in rooms for path in room.rglob("*.*")]
    known = {word for path in files if path.suffix == ".py" for word in re.findall(r"\w+", path.read_text("utf-8"))}
    assert not [name for name in re.findall(r"\b[A-Z][a-z]+[A-Z]\w+", text) if name not in known]
    paths = re.findall(r"[\w/]+\.(?:py|toml)\b", text)
    assert not [path for path in paths if not any(file.as_posix().endswith(f"/{path}") for file in files)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_what_a_page_shows_exists(page: Path) -> None:
    for language, block in _BLOCK.findall(page.read_text("utf-8")):
        if language == "python":
            compile(block, str(page), "exec", flags=0x2000)  # await stands at the top of some
    for words in _called(page):
        if words and not words[0].startswith("-"):
            assert words[0] in COMMANDS, f"{page}: specdec {words[0]}"
            known = {name for option in COMMANDS[words[0]].params for name in (*option.opts, *option.secondary_opts)}
            given = {word.partition("=")[0] for word in words[1:] if word.startswith("--") and len(word) > 2}
            if words[0] != "cluster":  # vLLM's own go through
                assert given - known - {"--help"} == set(), f"{page}: {' '.join(words)}"


def test_the_page_of_commands_has_every_option() -> None:
    page: str = runpy.run_path(str(DOCS / "commands.py"))["page"]()
    for name, command in COMMANDS.items():
        _, found, section = page.partition(f"## specdec {name}\n")
        assert found
        for option in command.params:
            assert f"`{option.opts[0] if option.opts[0].startswith('-') else option.opts[0].upper()}`" in section


def test_every_page_is_in_the_contents() -> None:
    listed = set[str]()
    for index in (DOCS / "index.md", DOCS / "clients" / "index.md"):
        for block in re.findall(r"```\{toctree\}\n(.*?)```", index.read_text("utf-8"), re.DOTALL):
            folder = index.parent.relative_to(DOCS)
            listed |= {str(folder / line) for line in block.splitlines() if line and not line.startswith(":")}
    pages = {str(page.relative_to(DOCS).with_suffix("")) for page in DOCS.rglob("*.md")}
    assert pages - listed == {"index"}


@pytest.mark.parametrize("log", [DOCS / "log.md", *sorted((DOCS / "log").glob("*.md"))], ids=lambda log: log.name)
def test_a_finding_of_the_log_has_a_title_and_at_most_120_words(log: Path) -> None:
    _, *days = re.split(r"(?m)^## ", log.read_text("utf-8"))
    findings = [finding for day in days for finding in day.strip().split("\n\n")[1:]]
    assert findings
    assert [f[:80] for f in findings if not f.startswith("**") or len(f.split()) > 120] == []
