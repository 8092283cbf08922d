"""What each token adds to the text, as bytes, for the tokenizers where that is a property of the token alone.

Two families cover nearly every causal language model: byte-level BPE (GPT-2, Llama 3, Qwen), whose tokens are bytes
written in a 256-letter alphabet, and sentencepiece with byte fallback (Llama 2, Mistral, Gemma), whose tokens are
text or one byte "<0xE2>". For both, text comes out of tokens by joining bytes, so one table makes detokenizing exact
and constant-time. Every other decoder is left to the library (see `detokenizer`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

TokenOf = Callable[[int], str | None]


_PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_OTHERS = [b for b in range(256) if b not in _PRINTABLE]
_BYTES = {chr(b): b for b in _PRINTABLE} | {chr(0x100 + i): b for i, b in enumerate(_OTHERS)}
"""GPT-2's letters for the 256 bytes: printable ones stand for themselves, the others start at U+0100."""


class Pieces(dict[int, bytes]):
    """The bytes of each token id, filled in as ids are met; empty for special and unknown ids."""

    def __init__(self, token_of: TokenOf, skipped: frozenset[int], leading: int = 0, errors: str = "replace") -> None:
        super().__init__()
        self._token_of, self._skipped = token_of, skipped
        self.leading = leading
        """How many spaces the decoder strips from the start of the text."""
        self.errors = errors
        """How invalid bytes are written, as in `codecs`."""

    def __missing__(self, token: int) -> bytes:
        text = None if token in self._skipped else self._token_of(token)
        piece = self[token] = b"" if text is None else self._to_bytes(text)
        return piece

    def _to_bytes(self, token: str) -> bytes:
        raise NotImplementedError


class ByteLevelPieces(Pieces):
    """Byte-level BPE. A token with a letter outside the alphabet (an added token) stands for its own text."""

    def _to_bytes(self, token: str) -> bytes:
        try:
            return bytes([_BYTES[letter] for letter in token])
        except KeyError:
            return token.encode()


class FallbackPieces(Pieces):
    """Sentencepiece with byte fallback: text with replacements, or one byte."""

    def __init__(
        self, token_of: TokenOf, skipped: frozenset[int], leading: int, replacements: Sequence[tuple[str, str]]
    ) -> None:
        super().__init__(token_of, skipped, leading, errors="specdec.per_byte")
        self._replacements = replacements

    def _to_bytes(self, token: str) -> bytes:
        if byte := fallback_byte(token):
            return byte
        for old, new in self._replacements:
            token = token.replace(old, new)
        return token.encode()


def fallback_byte(token: str) -> bytes | None:
    """The byte that a token such as "<0xE2>" stands for."""
    if len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
        with suppress(ValueError):
            return bytes([int(token[3:5], 16)])
    return None


def pieces_of(decoder: Any, token_of: TokenOf, skipped: frozenset[int]) -> Pieces | None:
    """The table for a decoder of the `tokenizers` library; None when its text is not a join of bytes."""
    if decoder is None:
        return None
    state = json.loads(decoder.__getstate__())
    steps = state["decoders"] if state["type"] == "Sequence" else [state]
    if [step["type"] for step in steps] == ["ByteLevel"]:
        return ByteLevelPieces(token_of, skipped)
    # Else Replace*, ByteFallback, Fuse, and at most one Strip of leading spaces.
    count = next((i for i, step in enumerate(steps) if step["type"] != "Replace"), len(steps))
    replaces, rest = steps[:count], steps[count:]
    kinds = [step["type"] for step in rest]
    if kinds not in (["ByteFallback", "Fuse"], ["ByteFallback", "Fuse", "Strip"]):
        return None
    if any("String" not in step["pattern"] for step in replaces):
        return None
    strip: dict[str, Any] = rest[2] if len(rest) == 3 else {"content": " ", "start": 0, "stop": 0}
    if strip["content"] != " " or strip["stop"] != 0:
        return None
    pairs = [(step["pattern"]["String"], step["content"]) for step in replaces]
    return FallbackPieces(token_of, skipped, strip["start"], pairs)
