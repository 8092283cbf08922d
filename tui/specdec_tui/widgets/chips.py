"""Files that the prompt names, each with its tokens, under what is typed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from textual import work
from textual.content import Content
from textual.widgets import Static

from specdec.errors import SpecDecError
from specdec_tui.core.files import named, with_files
from specdec_tui.core.safe import one_line


class Chips(Static):
    """Counted in a thread, when the names change. `count` gives a text's tokens, None where nobody can say."""

    DEFAULT_CSS = """
    Chips { display: none; height: auto; max-height: 3; padding: 0 2; margin: 0 1; }
    Chips.-some { display: block; }
    """

    def __init__(self, count: Callable[[str], int | None]) -> None:
        super().__init__(markup=False, id="chips")
        self._count = count
        self._paths: list[Path] = []

    def show(self, text: str) -> None:
        """Those in this prompt."""
        if "@" not in text and not self._paths:  # most keys
            return
        paths = named(text)
        if paths != self._paths:
            self._paths = paths
            self.set_class(bool(paths), "-some")
            self._draw([(path, "…") for path in paths])
            self._measure(paths)

    @work(exclusive=True)
    async def _measure(self, paths: list[Path]) -> None:
        self._draw([(path, await asyncio.to_thread(self._tokens_of, path)) for path in paths])

    def _tokens_of(self, path: Path) -> str:
        try:
            text = with_files(f'@"{path}"')
            tokens = self._count(text)
        except (SpecDecError, OSError) as error:
            return one_line(error, 60)
        return f"{len(text):,} characters" if tokens is None else f"{tokens:,} tokens"

    def _draw(self, sizes: list[tuple[Path, str]]) -> None:
        chips = (
            Content.assemble(f" {one_line(path, 40)} ", (f"{size} ", "dim")).stylize("on $panel")
            for path, size in sizes
        )
        self.update(Content(" ").join(chips))
