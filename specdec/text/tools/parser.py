"""From the tokens of an answer to what a chat's client reads: content, reasoning and calls, as they come.

A mark that is a token of its own is known by its id, so that text which merely looks like it stays text. Other marks
are found in the text, and what may still become one is held back. Nothing here fails on half an answer or on a wrong
one: what is no call after all comes out as content.
"""

from __future__ import annotations

import secrets
import string
from collections.abc import Iterator
from typing import Protocol

from specdec.text.tools.formats import PYTHON_TAG, AnswerFormat, inner_texts
from specdec.text.tools.heads import HeadScanner, Schemas, with_marks
from specdec.text.tools.marks import MarkSplitter
from specdec.text.tools.scanner import CallScanner
from specdec.types import ContentDelta, Delta, ReasoningDelta, ToolCallDelta

_LETTERS = string.ascii_letters + string.digits
_CALL = '{"name": "'
_SEAL = 0xFDD1
"""The first of some code points of which Unicode promises that no text has them."""


class Parser(Protocol):
    """Reads one answer, token by token."""

    @property
    def thinking(self) -> bool:
        """Whether the answer is within a thought."""
        ...

    def push(self, token: int, text: str) -> list[Delta]:
        """What a token adds. `text` is what it adds to the shown text, "" for a special one."""
        ...

    def finish(self, *, cut: bool = False) -> list[Delta]:
        """The answer ends here, wherever that is. `cut`: it would have gone on, so what may be a part of a mark or of a
        call is taken for that, and tells nobody anything."""
        ...


class AnswerParser:
    """Reads one answer. `calls`: whether tools were offered; `thoughts`: whether reasoning is looked for; `opened`:
    whether the answer starts inside a thought. `schemas` tell texts from values where calls do not."""

    def __init__(
        self,
        answer_format: AnswerFormat,
        *,
        calls: bool = False,
        thoughts: bool = False,
        opened: bool = False,
        schemas: Schemas | None = None,
    ) -> None:
        tools, self._schemas = answer_format.tools if calls else None, schemas or {}
        inner = inner_texts(tools) if tools else ()
        within = [mark for mark in answer_format.ids if any(mark in text for text in inner)]
        self._seals = {mark: chr(_SEAL + i) for i, mark in enumerate(within)}
        self._inner = {answer_format.ids[mark]: mark for mark in within}
        self._shown: dict[str, str] = {}
        """What the letters that stand for tokens add to a text; "" for special ones."""
        self._format = with_marks(tools, self._sealed) if tools else None
        self._begin = self._sealed(tools.begin or PYTHON_TAG) if tools else ""
        self._end = self._sealed(tools.end) if tools else ""
        self._open, self._close = (answer_format.thought if thoughts else None) or ("", "")
        names = dict.fromkeys([self._open, self._close, self._begin, self._end])
        self._marks = MarkSplitter(names, answer_format.ids)
        self._label = answer_format.label
        self._head: str | None = None
        """The start of a thought, while it may be its label."""
        self.thinking = self._marked = opened and thoughts
        """`_marked`: a mark was met, behind which whitespace means nothing."""
        self._calling = False
        self._past_thought = False
        self._blank = True
        """Nothing but whitespace was read since the last mark."""
        self._spaces = ""
        """Whitespace that is dropped if a mark follows."""
        self._scanner: CallScanner | HeadScanner | None = None
        self._index = 0

    def push(self, token: int, text: str) -> list[Delta]:
        """See `Parser`."""
        if self._marks.idle:
            return [ContentDelta(text)] if text else []
        out: list[Delta] = []
        mark = self._inner.get(token, "")
        if mark and (not text or text.endswith(mark)):  # else it was cut by a stop string
            seal = self._seals[mark]
            self._shown[seal] = mark if text else ""
            text = text.removesuffix(mark) + seal
        for part in self._marks.split(token, text):
            if isinstance(part, str):
                out += self._text(part)
            elif part.spelled and self._is_quoted(part.name):
                out += self._text(part.name)
            else:
                if isinstance(self._scanner, HeadScanner):  # which may lack what the mark tells
                    out += self._call(*self._scanner.close())
                out += self._end_call()
                self._calling = part.name == self._begin
                self._past_thought = self._past_thought or self.thinking
                self.thinking = part.name == self._open
                self._head = "" if self.thinking and self._label else None
                self._marked, self._blank, self._spaces = True, True, ""
        return out

    def finish(self, *, cut: bool = False) -> list[Delta]:
        """See `Parser`."""
        if self._marks.idle:
            return []
        held = list(self._marks.rest())
        if cut and self._scanner is None and held:  # a part of a mark
            return []
        if cut and self._scanner is not None and self._scanner.name is None:  # less than a name, behind a bare brace
            read = self._scanner.raw
            if read.startswith(_CALL) or _CALL.startswith(read):
                return []
        out = [delta for part in held for delta in self._text(part)]
        out += [] if self._marked else self._end_call()  # less than a name behind a mark is nothing either
        if self._spaces and not self.thinking and not self._marked:
            out.append(ContentDelta(self._spaces))
        self._spaces = ""
        return out

    def _text(self, text: str) -> Iterator[Delta]:
        if not self._calling:
            text = "".join(self._shown.get(letter, letter) for letter in text)
        if self._head is not None:
            self._head += text
            if self._label.startswith(self._head):
                return
            text, self._head = self._head.removeprefix(self._label), None
        while text:
            if self._scanner is not None:
                added, text = self._scanner.feed(text)
                yield from self._call(*added)
                if self._scanner.done:
                    yield from self._end_call()
            elif self._calling or self._is_bare_call(text):
                self._calling, self._spaces = True, ""
                text = self._new_call(text)
            else:
                if self._blank and self._marked:  # a thought that was cut within a character leaves a part of it
                    text = text.lstrip() if self.thinking else text.lstrip().lstrip("\ufffd").lstrip()
                whole = self._spaces + text
                body = whole.rstrip()
                text, self._spaces = "", whole[len(body) :]
                if body:
                    self._blank, self._past_thought = False, self._past_thought or not self.thinking
                    yield ReasoningDelta(body) if self.thinking else ContentDelta(body)

    def _new_call(self, text: str) -> str:
        """Where a call starts, its text is left."""
        assert self._format is not None
        if self._format.head is not None:
            text = text.lstrip()
            self._scanner = HeadScanner(self._format, self._schemas) if text else None
            return text
        _, brace, rest = text.partition("{")
        self._scanner = CallScanner() if brace else None
        return brace + rest

    def _call(self, named: bool, arguments: str) -> Iterator[Delta]:
        scanner = self._scanner
        arguments = self._unsealed(arguments)
        if named and scanner is not None:
            short = self._format is not None and self._format.short_ids
            made = "".join(secrets.choice(_LETTERS) for _ in range(9)) if short else "call_" + secrets.token_hex(12)
            yield ToolCallDelta(self._index, scanner.call_id or made, scanner.name, arguments)
        elif arguments:
            yield ToolCallDelta(self._index, arguments=arguments)

    def _sealed(self, text: str) -> str:
        """Marks that are tokens are letters that no text has, within a call, so that text like them stays text."""
        for mark, seal in self._seals.items():
            text = text.replace(mark, seal)
        return text

    def _unsealed(self, text: str) -> str:
        for mark, seal in self._seals.items():
            text = text.replace(seal, mark)
        return text

    def _is_quoted(self, mark: str) -> bool:
        """Whether a mark that is spelled is text here: in a string of a call, or of a thought where none can be."""
        if any(seal in mark for seal in self._seals.values()):  # so it is not spelled, but for the letters around it
            return False
        if self._scanner is not None and self._scanner.quoted:
            return True
        return (mark == self._open and self._past_thought) or (mark == self._close and not self.thinking)

    def _is_bare_call(self, text: str) -> bool:
        """Whether the format marks calls by nothing but an opening brace, and here is one."""
        bare = self._format is not None and not self._format.begin
        return bare and self._blank and not self.thinking and text.lstrip().startswith("{")

    def _end_call(self) -> Iterator[Delta]:
        """The object is complete, or will never be."""
        if self._scanner is not None and self._scanner.name is None:
            yield ContentDelta(self._unsealed(self._scanner.raw))
        elif self._scanner is not None:
            self._index += 1
        self._scanner = None
