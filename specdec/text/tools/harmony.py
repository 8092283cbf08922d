"""From the tokens of an answer in gpt-oss's Harmony format to content, reasoning and calls, as they come.

An answer is a row of messages, each with a head that names its channel and, of a call, its recipient. Thoughts are on
`analysis`, calls go to `functions.NAME`, all else is content. As in `parser`, nothing fails on half an answer.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Mapping

from specdec.text.tools.formats import HARMONY_MARKS
from specdec.text.tools.marks import MarkSplitter
from specdec.types import ContentDelta, Delta, ReasoningDelta, ToolCallDelta

_RECIPIENT = re.compile(r"to=functions\.(\S+)")
_HEAD_MARKS = {"<|start|>", "<|channel|>", "<|constrain|>"}


class HarmonyParser:
    """Reads one answer, which starts within a head; one that has none is content. `calls`: whether tools were offered;
    `ids` are the marks that are tokens."""

    def __init__(self, ids: Mapping[str, int], *, calls: bool) -> None:
        self._marks, self._calls = MarkSplitter(HARMONY_MARKS, ids), calls
        self._head: str | None = ""
        """The head so far; None within a message."""
        self._headless = True
        """No mark was met yet."""
        self._thinking = False
        self._name: str | None = None
        self._index = -1

    @property
    def thinking(self) -> bool:
        """See `Parser`."""
        return self._thinking and self._head is None

    def push(self, token: int, text: str) -> list[Delta]:
        """What a token adds; see `Parser`."""
        out: list[Delta] = []
        for part in self._marks.split(token, text):
            if isinstance(part, str):
                out += self._text(part)
            elif part.name == "<|message|>":
                head, self._head = self._head or "", None
                called = _RECIPIENT.search(head) if self._calls else None
                self._thinking, self._name = "channel=analysis" in head, called[1] if called else None
                if self._name is not None:
                    self._index += 1
                    out.append(ToolCallDelta(self._index, "call_" + secrets.token_hex(12), self._name, ""))
            elif part.name in _HEAD_MARKS:
                self._head = f"{self._head or ''} {'channel=' if part.name == '<|channel|>' else ''}"
            else:
                self._head = ""
            self._headless = self._headless and isinstance(part, str)
        return out

    def finish(self, *, cut: bool = False) -> list[Delta]:
        """The answer ends here; see `Parser`."""
        out = [] if cut else [delta for part in self._marks.rest() for delta in self._text(part)]
        if self._headless and self._head and not cut:
            out.append(ContentDelta(self._head))
        return out

    def _text(self, text: str) -> Iterator[Delta]:
        if self._head is not None:
            self._head += text
            start = self._head.lstrip()
            if not self._headless or "to=".startswith(start[:3]):
                return
            text, self._head = self._head, None
        if self._name is not None:
            yield ToolCallDelta(self._index, arguments=text)
        else:
            yield ReasoningDelta(text) if self._thinking else ContentDelta(text)
