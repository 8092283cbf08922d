from __future__ import annotations

from typing import Any

import pytest
from textual.app import App, ComposeResult
from textual.content import Content
from textual.geometry import Offset
from textual.screen import Screen
from textual.selection import Selection

from specdec_tui.widgets.code_block import AnswerMarkdown, CodeBlock, CodeLines
from specdec_tui.widgets.table_block import TableLines
from specdec_tui.widgets.tables import Laid, Row, Table

CODE = "".join(f'def bell_{i}(times):\n    return "ding" * {i}  # ok\n\n' for i in range(30))


class _App(App[None]):
    def compose(self) -> ComposeResult:
        yield AnswerMarkdown("")


async def _drawn(*pieces: str, final: str | None = None) -> tuple[list[str], list[str]]:
    """Code and colours of a fence that came in these pieces."""
    app = _App()
    async with app.run_test(size=(80, 200)) as pilot:
        answer = app.query_one(AnswerMarkdown)
        for piece in pieces:
            await answer.append(piece)
        if final:
            await answer.update(final)
        await pilot.pause()
        lines = app.query_one(CodeLines)
        strips = [lines.render_line(y) for y in range(lines.content_size.height)]
        return [s.text.rstrip() for s in strips], [repr(list(s)) for s in strips]


async def test_a_fence_that_grew_looks_like_one_that_came_whole() -> None:
    whole = await _drawn(f"```python\n{CODE}```\n")
    grown = await _drawn("```python\n", *CODE.splitlines(keepends=True), "```\n")
    assert grown == whole
    assert whole[0] == CODE.rstrip().split("\n")


async def test_the_final_drawing_mends_a_string_that_began_far_above() -> None:
    text = f'```python\nx = """\n{CODE}"""\n```\n'
    whole = await _drawn(text)
    assert await _drawn(*text.splitlines(keepends=True)) != whole  # what the limit of lines before costs
    assert await _drawn(*text.splitlines(keepends=True), final=text) == whole


async def test_half_a_line_is_coloured_anew_when_it_is_whole() -> None:
    assert await _drawn("```python\nx = 'di", "ng'\n```\n") == await _drawn("```python\nx = 'ding'\n```\n")


async def test_only_new_lines_and_a_few_before_are_coloured() -> None:
    asked: list[int] = []
    app = _App()
    async with app.run_test() as pilot:
        await app.query_one(AnswerMarkdown).append(f"```python\n{CODE}")
        await pilot.pause()
        block, lines = app.query_one(CodeBlock), app.query_one(CodeLines)

        def count(code: str) -> Content:
            asked.append(code.count("\n") + 1)
            return block._coloured(code)

        lines.show(f"{block.code}\nx = 1", count)
    assert asked[0] < 50 < CODE.count("\n")


ROWS = [
    f"| {n} | **bell** {n} | and what was said of it, at some length, so that it has to be wrapped |\n"
    for n in range(60)
]
TABLE = ["| no | name | said |\n", "|---:|---|---|\n", *ROWS]


async def _table(pieces: list[str]) -> list[str]:
    app = _App()
    async with app.run_test(size=(60, 200)) as pilot:
        for piece in pieces:
            await app.query_one(AnswerMarkdown).append(piece)
            await pilot.pause()
        table = app.query_one(TableLines)
        return [repr(list(table.render_line(y))) for y in range(table.size.height)]


async def test_a_table_that_grew_looks_like_one_that_came_whole() -> None:
    halves = [part for line in TABLE for part in (line[:9], line[9:])]
    assert await _table(halves) == await _table(["".join(TABLE)])


async def test_a_row_is_laid_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    laid: list[str] = []
    lay = Table.lay

    def counted(table: Table, row: Row, *at: Any) -> Laid:
        laid.append(row[0].plain)
        return lay(table, row, *at)

    monkeypatch.setattr(Table, "lay", counted)
    app = _App()
    async with app.run_test(size=(60, 200)) as pilot:
        await app.query_one(AnswerMarkdown).append("".join(TABLE))
        await pilot.pause()
        laid.clear()
        await app.query_one(AnswerMarkdown).append("| 9 | **bell** 1 | and what |\n")
        await pilot.pause()
    assert laid == ["9", "no"]


async def test_selected_code_is_copied() -> None:
    app = _App()
    async with app.run_test() as pilot:
        await app.query_one(AnswerMarkdown).append("```python\none = 1\ntwo = 2\n```\n")
        await pilot.pause()
        selected = app.query_one(CodeLines).get_selection(Selection(Offset(0, 1), None))
    assert selected == ("two = 2", "\n")


async def test_paragraphs_and_headings_are_laid_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    passes: list[bool] = []
    lay_out = Screen._refresh_layout

    def counted(self: Screen[Any], *args: Any, **options: Any) -> None:
        passes.append(True)
        lay_out(self, *args, **options)

    app = _App()
    async with app.run_test(size=(40, 200)) as pilot:
        answer = app.query_one(AnswerMarkdown)
        await answer.append("The fox")
        await pilot.pause()
        monkeypatch.setattr(Screen, "_refresh_layout", counted)
        for text in (" went down to the river and listened to it", "\n\n# A bell\n\nrang", " twice\n\nThen"):
            passes.clear()
            await answer.append(text)
            await pilot.pause()
            await pilot.pause()
            assert len(passes) == 1, text
        assert [block.size.height for block in answer.children] == [2, 1, 1, 1]
