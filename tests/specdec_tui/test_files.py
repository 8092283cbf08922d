"""Files that a prompt names by an @."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from pypdf import PdfWriter
from textual.widgets import Static

from specdec.errors import InvalidRequest
from specdec.types import Message
from specdec_tui.core import files
from specdec_tui.widgets.turn import PromptView
from tests.fakes import SCRIPTED_INFO, ScriptedEngine
from tests.specdec_tui.running import running


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.md").write_text("# Foxes\n\nThey are red.\n")
    (tmp_path / "a name.txt").write_text("spaced")
    (tmp_path / "src" / ".git").mkdir(parents=True)
    (tmp_path / "src" / ".git" / "config").write_text("hidden")
    (tmp_path / "src" / "fox.py").write_text("print('</file>')")
    (tmp_path / "src" / "fox.bin").write_bytes(b"\0\1")
    (tmp_path / "fox.png").write_bytes(b"\x89PNG\0")


def test_what_is_named_and_what_is_text() -> None:
    text = 'See @notes.md, @"a name.txt" and @src; me@notes.md, @nobody and @ are text.'
    assert files.named(text) == [Path("notes.md"), Path("a name.txt"), Path("src")]


def test_what_cannot_be_a_path_is_text() -> None:
    for text in ("@~no-such-user/x", "@a\0b/c", "@" + "x" * 10_000 + "/"):
        assert files.named(text) == []
        assert files.complete(text) == []


def test_what_is_no_file_is_refused_or_left_out(tmp_path: Path) -> None:
    (tmp_path / "src" / "gone").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "src" / "pipe")
    assert [path for path, _ in files.asked(files.with_files("@src"))[1]] == ["src/fox.py"]
    for name in ("gone", "pipe"):
        with pytest.raises(InvalidRequest, match="expected a file or a folder that is there"):
            files.with_files(f"@src/{name}")


def test_contents_go_behind_the_question_and_come_off_again() -> None:
    text = "What is in @notes.md and @src?"
    sent = files.with_files(text)
    assert sent.startswith(f'{text}\n\n<file path="notes.md">\n# Foxes\n\nThey are red.\n</file>')
    assert files.asked(sent) == (text, [("notes.md", "# Foxes\n\nThey are red."), ("src/fox.py", "print('</file>')")])
    assert files.asked("no files <file path") == ("no files <file path", [])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("fox.png", "text: images are not read here"),
        ("src/fox.bin", "text in UTF-8, or a PDF"),
        ("broken.pdf", "a PDF that can be read"),
        ("large.txt", "files of at most 2,097,152 bytes together"),
    ],
)
def test_what_is_no_text_is_refused_by_name(name: str, expected: str) -> None:
    Path("broken.pdf").write_text("no PDF")
    Path("large.txt").write_text("x" * (files.MOST_BYTES + 1))
    with pytest.raises(InvalidRequest) as refused:
        files.with_files(f"@{name}")
    assert (refused.value.value, refused.value.expected[: len(expected)]) == (name, expected)


def test_pages_of_a_pdf_are_read() -> None:
    writer = PdfWriter()
    writer.add_blank_page(100, 100)
    writer.write("empty.pdf")
    assert files.read(Path("empty.pdf")) == ""


def test_a_folder_with_too_much_is_refused() -> None:
    for i in range(201):
        Path("src", f"{i}.txt").write_text("x")
    with pytest.raises(InvalidRequest, match="at most 200 files"):
        files.with_files("@src")


def test_paths_are_completed() -> None:
    assert files.complete("read @") == ["src/", "a name.txt", "fox.png", "notes.md"]
    assert files.complete("read @src/f") == ["src/fox.bin", "src/fox.py"]
    assert files.complete("me@n") == files.complete("@none/x") == []
    assert files.completed("read @n", "notes.md") == "read @notes.md "
    assert files.completed("@a", "a name.txt") == '@"a name.txt" '
    assert files.completed("@s", "src/") == "@src/"


async def test_a_file_is_completed_counted_sent_and_folded() -> None:
    engine = ScriptedEngine(info=replace(SCRIPTED_INFO, context=4))
    async with running(engine) as chat:
        await chat.ready()
        await chat.pilot.press(*"What? @no", "tab")
        assert chat.app.main.prompt.text == "What? @notes.md "
        await chat.until(lambda: "notes.md" in chat.text_of("#chips") and "tokens" in chat.text_of("#chips"))
        assert "room for 4 tokens" in chat.text_of("#chips")
        await chat.pilot.press("enter")
        await chat.until(lambda: chat.answered)
        said = engine.requests[0].prompt[0]
        assert isinstance(said, Message)
        assert "They are red." in str(said.content)
        view = chat.app.screen.query_one(PromptView)
        shown = [str(line.render()) for line in view.query(Static)]
        assert shown == ["What? @notes.md ", "▤ notes.md  5 words"]
        assert not chat.app.main.chips.display
        assert chat.app.main.chat.title == "What? @notes.md"
        view.focus()
        await chat.pilot.press("e")
        await chat.until(lambda: chat.app.main.prompt.text == "What? @notes.md ")


async def test_a_prompt_with_an_image_stays() -> None:
    engine = ScriptedEngine()
    async with running(engine) as chat:
        await chat.ready()
        await chat.enter("What is in @fox.png")
        await chat.until(lambda: chat.toasts)
        assert "images are not read here" in chat.toasts[-1]
        assert chat.app.main.prompt.text == "What is in @fox.png"
        assert not engine.requests
