"""Tokens in, text out, one token at a time and without ever taking back what was shown.

Where a token's bytes are its own (`pieces`), an incremental UTF-8 decoder joins them: exact, constant time, and at most
three bytes wait. Elsewhere the text of a short window is compared with and without the new tokens, so that rules
like "no space before the first word" cancel out (the prefix-difference method of text-generation-inference and vLLM).
"""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import Protocol

from specdec.text.pieces import Pieces

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_MAX_PENDING = 8
"""Window method: a character is complete after 4 bytes; after this many tokens an incomplete end is shown as it is."""


def _per_byte(error: UnicodeError) -> tuple[str, int]:
    """One U+FFFD for each invalid byte, as sentencepiece decoders write them."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return _REPLACEMENT * (error.end - error.start), error.end


codecs.register_error("specdec.per_byte", _per_byte)


class DetokenizerSource(Protocol):
    """What a detokenizer needs of a tokenizer."""

    @property
    def pieces(self) -> Pieces | None: ...

    def is_silent(self, token: int) -> bool: ...

    def decode_window(self, ids: Sequence[int]) -> str: ...


class Detokenizer:
    """The text of one growing sequence of tokens. Special tokens add nothing.

    The texts returned join to the text of all tokens, whatever follows.
    """

    pending = False
    """True while pushed tokens have not shown all of their text."""

    @staticmethod
    def of(tokenizer: DetokenizerSource) -> Detokenizer:
        """By bytes where they are known, else by windows."""
        return _WindowDetokenizer(tokenizer) if tokenizer.pieces is None else _ByteDetokenizer(tokenizer.pieces)

    def push(self, token: int) -> str:
        """Add a token; returns the text that is certain now, "" while a character is incomplete."""
        raise NotImplementedError

    def flush(self) -> str:
        """End the sequence; returns what is left, an incomplete character as U+FFFD."""
        raise NotImplementedError


class _ByteDetokenizer(Detokenizer):
    def __init__(self, pieces: Pieces) -> None:
        self._pieces = pieces
        self._leading = pieces.leading
        self._rest = b""

    def push(self, token: int) -> str:
        data = self._rest + self._pieces[token]
        text, used = codecs.utf_8_decode(data, self._pieces.errors, False)
        self._rest = data[used:]
        self.pending = used < len(data)
        if self._leading and text:  # the first character but a space ends what is stripped
            kept = text.lstrip(" ")
            cut = min(len(text) - len(kept), self._leading)
            self._leading = 0 if kept else self._leading - cut
            return text[cut:]
        return text

    def flush(self) -> str:
        text, _ = codecs.utf_8_decode(self._rest, self._pieces.errors, True)
        self._rest, self.pending = b"", False
        return text


class _WindowDetokenizer(Detokenizer):
    """`_ids[:_read]` has been shown, and reads `_shown` on its own; `_ids[_read:]` waits."""

    def __init__(self, source: DetokenizerSource) -> None:
        self._source = source
        self._ids: list[int] = []
        self._read = 0
        self._shown = ""

    def push(self, token: int) -> str:
        # Silent tokens stay out of the window: as its first token one would bring the first-word rule back.
        if self._source.is_silent(token):
            return ""
        self._ids.append(token)
        text = self._source.decode_window(self._ids)
        waiting = len(text) <= len(self._shown) or text.endswith(_REPLACEMENT)
        self.pending = waiting and len(self._ids) - self._read < _MAX_PENDING
        return "" if self.pending else self._advance(text)

    def flush(self) -> str:
        if not self.pending:
            return ""
        self.pending = False
        return self._advance(self._source.decode_window(self._ids))

    def _advance(self, text: str) -> str:
        new = text[len(self._shown) :]
        self._ids = self._ids[self._read :]
        self._read = len(self._ids)
        self._shown = self._source.decode_window(self._ids)
        return new
