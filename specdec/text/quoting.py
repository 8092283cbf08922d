"""The names of special tokens in the texts of a chat, which are text there and not the tokens: else whoever writes a
message could end it and begin another of any role.

A mark between the letters of a name hides it from the tokenizer, which looks for special tokens first, and is taken out
before anything else is done to the text. This needs a tokenizer of the `tokenizers` library, and tokens that it looks
for before it normalizes the text, as it does unless a token says otherwise. Not hidden are added tokens that are not
special, which are text that happens to be one token, and marks of a template that are no tokens, such as Llama 2's
"[INST]".
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import groupby
from typing import Any

_MARK = "\ufdd0"
"""A code point of which Unicode promises that it stays free for such uses, so that no text has it."""
_JSON = json.JSONEncoder(
    ensure_ascii=False, skipkeys=True, default=lambda value: dict(value) if isinstance(value, Mapping) else str(value)
)
"""What holds a text, holds it as JSON too."""


class Quoting:
    """For a tokenizer of the `tokenizers` library."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        added = backend.get_added_tokens_decoder().items()
        self._names = {i: t.content for i, t in added if t.special and not t.normalized}
        longest_first = sorted(self._names.values(), key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)))

    def is_needed(self, tokens: Sequence[int], texts: Any) -> bool:
        """Whether one of the special tokens of a prompt may have come from `texts`, which are those of a chat in lists
        and mappings."""
        written = _JSON.encode(texts)
        return any(_JSON.encode(self._names[i])[1:-1] in written for i in self._names.keys() & set(tokens))

    def quoted(self, texts: Any) -> Any:
        """The same, the names of special tokens in them hidden."""
        if isinstance(texts, str):
            return self._pattern.sub(lambda found: "".join(letter + _MARK for letter in found[0]), texts)
        if isinstance(texts, Mapping):
            return {self.quoted(key): self.quoted(value) for key, value in texts.items()}
        return [self.quoted(value) for value in texts] if isinstance(texts, list) else texts

    def encode(self, text: str) -> list[int]:
        """The tokens of a text with hidden names."""
        return list(self._unmarking.encode(text, add_special_tokens=False).ids)

    @cached_property
    def _unmarking(self) -> Any:
        """The tokenizer that takes marks out. It shares the vocabulary, of which a copy would take a second to make."""
        from tokenizers import Tokenizer, normalizers

        backend, added = Tokenizer(self._backend.model), self._backend.get_added_tokens_decoder()
        for special, tokens in groupby((added[i] for i in sorted(added)), lambda token: token.special):
            (backend.add_special_tokens if special else backend.add_tokens)(list(tokens))
        assert backend.get_added_tokens_decoder() == added
        backend.pre_tokenizer = self._backend.pre_tokenizer
        after = [self._backend.normalizer] if self._backend.normalizer else []
        backend.normalizer = normalizers.Sequence([normalizers.Replace(_MARK, ""), *after])
        return backend
