"""Finds a format's marks among the tokens of an answer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FoundMark:
    """A mark that was met: as a token of its own, or spelled in the text."""

    name: str
    spelled: bool


class MarkSplitter:
    """Splits an answer into text and marks. Those in `ids` are known by their token alone, the others by their text."""

    def __init__(self, names: Iterable[str], ids: Mapping[str, int]) -> None:
        names = [name for name in names if name]
        self._tokens = {ids[name]: name for name in names if name in ids}
        self._spelled = [name for name in names if name not in ids]
        self._held = ""
        """The end of the text, while it may become a mark."""
        self.idle = not names

    def split(self, token: int, text: str) -> Iterator[str | FoundMark]:
        """What a token adds, in order; `text` is "" for a special one."""
        name = self._tokens.get(token)
        if name is None or (text and not text.endswith(name)):  # the latter was cut by a stop string
            yield from self._read(text)
            return
        yield from self._read(text.removesuffix(name))
        yield from self.rest()
        yield FoundMark(name, spelled=False)

    def rest(self) -> Iterator[str]:
        """What was held back: no mark after all."""
        held, self._held = self._held, ""
        if held:
            yield held

    def _read(self, text: str) -> Iterator[str | FoundMark]:
        text = self._held + text
        while True:
            found = [(at, name) for name in self._spelled if (at := text.find(name)) >= 0]
            if not found:
                break
            at, name = min(found)
            if at:
                yield text[:at]
            yield FoundMark(name, spelled=True)
            text = text[at + len(name) :]
        longest = max(map(len, self._spelled), default=1) - 1
        ends = range(min(longest, len(text)), 0, -1)
        # The longest end that may be the start of a mark is kept.
        keep = next((n for n in ends if any(name.startswith(text[-n:]) for name in self._spelled)), 0)
        self._held = text[len(text) - keep :]
        if len(text) > keep:
            yield text[: len(text) - keep]
