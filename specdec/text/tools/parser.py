"""From the tokens of an answer to what a chat's client reads: content, reasoning and calls, as they come.

A mark that is a token of its own is known by its id, so that text which merely looks like it stays text. Other marks
are found in the text, and what may still become one is held back. Nothing here fails on half an answer or on a wrong
one: what is no call after all comes out as content.
"""

from __future__ import annotations

import secrets
import string
from collections.abc import Iterator

from specdec.text.tools.formats import PYTHON_TAG, AnswerFormat
from specdec.text.tools.marks import MarkSplitter
from specdec.text.tools.scanner import CallScanner
from specdec.types import ContentDelta, Delta, ReasoningDelta, ToolCallDelta

_LETTERS = string.ascii_letters + string.digits
_CALL = '{"name": "'


class AnswerParser:
    """Reads one answer. `calls`: whether tools were offered; `thoughts`: whether reasoning is looked for; `opened`:
    whether the answer starts inside a thought."""

    def __init__(
        self, answer_format: AnswerFormat, *, calls: bool = False, thoughts: bool = False, opened: bool = False
    ) -> None:
        self._format = tools = answer_format.tools if calls else None
        self._begin, self._end = (tools.begin or PYTHON_TAG, tools.end) if tools else ("", "")
        self._open, self._close = (answer_format.thought if thoughts else None) or ("", "")
        self._marks = MarkSplitter([self._open, self._close, self._begin, self._end], answer_format.ids)
        self._thinking = self._marked = opened and thoughts
        """`_marked`: a mark was met, behind which whitespace means nothing."""
        self._calling = False
        self._past_thought = False
        self._blank = True
        """Nothing but whitespace was read since the last mark."""
        self._spaces = ""
        """Whitespace that is dropped if a mark follows."""
        self._scanner: CallScanner | None = None
        self._index = 0

    def push(self, token: int, text: str) -> list[Delta]:
        """What a token adds. `text` is what it adds to the shown text, "" for a special one."""
        if self._marks.idle:
            return [ContentDelta(text)] if text else []
        out: list[Delta] = []
        for part in self._marks.split(token, text):
            if isinstance(part, str):
                out += self._text(part)
            elif part.spelled and self._is_quoted(part.name):
                out += self._text(part.name)
            else:
                out += self._end_call()
                self._calling = part.name == self._begin
                self._past_thought = self._past_thought or self._thinking
                self._thinking = part.name == self._open
                self._marked, self._blank, self._spaces = True, True, ""
        return out

    def finish(self, *, cut: bool = False) -> list[Delta]:
        """The answer ends here, wherever that is. `cut`: it would have gone on, so what may be a part of a mark or of a
        call is taken for that, and tells nobody anything."""
        if self._marks.idle:
            return []
        held = list(self._marks.rest())
        if cut and self._is_promising(held):
            return []
        out = [delta for part in held for delta in self._text(part)]
        out += [] if self._marked else self._end_call()  # less than a name behind a mark is nothing either
        if self._spaces and not self._thinking and not self._marked:
            out.append(ContentDelta(self._spaces))
        self._spaces = ""
        return out

    def _text(self, text: str) -> Iterator[Delta]:
        while text:
            if self._scanner is not None:
                (named, arguments), text = self._scanner.feed(text)
                if named:
                    yield ToolCallDelta(self._index, self._new_id(), self._scanner.name, arguments)
                elif arguments:
                    yield ToolCallDelta(self._index, arguments=arguments)
                if self._scanner.done:
                    yield from self._end_call()
            elif self._calling or self._is_bare_call(text):
                self._calling, self._spaces = True, ""
                _, brace, rest = text.partition("{")
                text, self._scanner = brace + rest, CallScanner() if brace else None
            else:
                whole = self._spaces + (text.lstrip() if self._blank and self._marked else text)
                body = whole.rstrip()
                text, self._spaces = "", whole[len(body) :]
                if body:
                    self._blank, self._past_thought = False, self._past_thought or not self._thinking
                    yield ReasoningDelta(body) if self._thinking else ContentDelta(body)

    def _is_quoted(self, mark: str) -> bool:
        """Whether a mark that is spelled is text here: in a string of a call, or of a thought where none can be."""
        if self._scanner is not None and self._scanner.quoted:
            return True
        return (mark == self._open and self._past_thought) or (mark == self._close and not self._thinking)

    def _is_bare_call(self, text: str) -> bool:
        """Whether the format marks calls by nothing but an opening brace, and here is one."""
        bare = self._format is not None and not self._format.begin
        return bare and self._blank and not self._thinking and text.lstrip().startswith("{")

    def _is_promising(self, held: list[str]) -> bool:
        """Whether there is a part of a mark, or less than a name of a call that nothing but its brace marks."""
        if self._scanner is None:
            return bool(held)
        read = self._scanner.raw
        return self._scanner.name is None and (read.startswith(_CALL) or _CALL.startswith(read))

    def _end_call(self) -> Iterator[Delta]:
        """The object is complete, or will never be."""
        if self._scanner is not None and self._scanner.name is None:
            yield ContentDelta(self._scanner.raw)
        elif self._scanner is not None:
            self._index += 1
        self._scanner = None

    def _new_id(self) -> str:
        if self._format is not None and self._format.short_ids:
            return "".join(secrets.choice(_LETTERS) for _ in range(9))
        return "call_" + secrets.token_hex(12)
