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


class _ByteStream:
    def __init__(self, pieces: Pieces) -> None:
        self._pieces = pieces
        self._leading = pieces.leading
        self._rest = b""

    @property
    def pending(self) -> bool:
        return bool(self._rest)

    def push(self, token: int) -> str:
        data = self._pieces.bytes_of(token)
        return self._decode(data, final=False) if data else ""

    def flush(self) -> str:
        return self._decode(b"", final=True)

    def _decode(self, data: bytes, *, final: bool) -> str:
        data = self._rest + data
        text, used = codecs.utf_8_decode(data, self._pieces.errors, final)
        self._rest = data[used:]
        return self._strip(text) if self._leading and text else text

    def _strip(self, text: str) -> str:
        """Take what is left of the leading spaces off; the first other character ends it."""
        kept = text.lstrip(" ")
        spaces = len(text) - len(kept)
        cut = min(spaces, self._leading)
        self._leading = 0 if kept else self._leading - cut
        return text[cut:]


class _WindowStream:
    """`_ids[:_read]` has been shown, and reads `_shown` on its own; `_ids[_read:]` waits."""

    def __init__(self, source: DetokenizerSource) -> None:
        self._source = source
        self._ids: list[int] = []
        self._read = 0
        self._shown = ""

    @property
    def pending(self) -> bool:
        return len(self._ids) > self._read

    def push(self, token: int) -> str:
        # Silent tokens stay out of the window: as its first token one would bring the first-word rule back.
        if self._source.is_silent(token):
            return ""
        self._ids.append(token)
        text = self._source.decode_window(self._ids)
        waiting = len(text) <= len(self._shown) or text.endswith(_REPLACEMENT)
        if waiting and len(self._ids) - self._read < _MAX_PENDING:
            return ""
        return self._advance(text)

    def flush(self) -> str:
        return self._advance(self._source.decode_window(self._ids)) if self.pending else ""

    def _advance(self, text: str) -> str:
        new = text[len(self._shown) :]
        self._ids = self._ids[self._read :]
        self._read = len(self._ids)
        self._shown = self._source.decode_window(self._ids)
        return new


class Detokenizer:
    """The text of one growing sequence of tokens. Special tokens add nothing.

    The texts returned join to the text of all tokens, whatever follows.
    """

    def __init__(self, tokenizer: DetokenizerSource) -> None:
        pieces = tokenizer.pieces
        self._stream: _ByteStream | _WindowStream = _WindowStream(tokenizer) if pieces is None else _ByteStream(pieces)

    @property
    def pending(self) -> bool:
        """True while pushed tokens have not shown all of their text."""
        return self._stream.pending

    def push(self, token: int) -> str:
        """Add a token; returns the text that is certain now, "" while a character is incomplete."""
        return self._stream.push(token)

    def flush(self) -> str:
        """End the sequence; returns what is left, an incomplete character as U+FFFD."""
        return self._stream.flush()
