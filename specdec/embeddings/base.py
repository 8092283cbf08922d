"""What an embedder is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

TextKind = Literal["query", "document"]
"""Encoders for retrieval put other words before a question than before a text that may answer it."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """The vectors of some texts, each of length 1, in the order of the texts; and the tokens that were read."""

    vectors: tuple[tuple[float, ...], ...]  # [texts, dimensions]
    tokens: int


class Embedder(Protocol):
    """Makes vectors of texts. Safe to call from several threads."""

    @property
    def model(self) -> str:
        """A folder, a hub id, or a server's name for it."""
        ...

    def embed(self, texts: Sequence[str], kind: TextKind = "document", dimensions: int | None = None) -> Embedded:
        """Vectors of `dimensions` (None: as many as the encoder has). Raises InvalidRequest for more than it has, and
        LoadError where it has to be loaded first and cannot be."""
        ...

    def close(self) -> None:
        """Can be called twice."""
        ...
