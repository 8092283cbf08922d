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
    """Counted in a thread, when the names change. `count` gives a text's tokens, `room` how many still fit;
    None where nobody can say."""

    DEFAULT_CSS = """
    Chips { display: none; height: auto; max-height: 3; padding: 0 2; margin: 0 1; }
    Chips.-some { display: block; }
    """

    def __init__(self, count: Callable[[str], int | None], room: Callable[[], int | None]) -> None:
        super().__init__(markup=False, id="chips")
        self._count, self._room = count, room
        self._paths: list[Path] = []

    def show(self, text: str) -> None:
        """Those in this prompt."""
        if "@" not in text and not self._paths:  # most keys
            return
        paths = named(text)
        if paths != self._paths:
            self._paths = paths
            self.set_class(bool(paths), "-some")
            self._draw([(path, "…", 0) for path in paths])
            self._measure(paths)

    @work(exclusive=True)
    async def _measure(self, paths: list[Path]) -> None:
        self._draw([(path, *await asyncio.to_thread(self._measured, path)) for path in paths])

    def _measured(self, path: Path) -> tuple[str, int]:
        """In words, and in tokens as far as they are known."""
        try:
            text = with_files(f'@"{path}"')
            tokens = self._count(text)
        except (SpecDecError, OSError) as error:
            return one_line(error, 60), 0
        return (f"{len(text):,} characters", 0) if tokens is None else (f"{tokens:,} tokens", tokens)

    def _draw(self, sizes: list[tuple[Path, str, int]]) -> None:
        chips = [
            Content.assemble(f" {one_line(path, 40)} ", (f"{size} ", "dim")).stylize("on $panel")
            for path, size, _ in sizes
        ]
        room = self._room()
        if room is not None and sum(tokens for *_, tokens in sizes) > room:
            chips.append(Content.styled(f"room for {room:,} tokens", "bold $error"))
        self.update(Content(" ").join(chips))
