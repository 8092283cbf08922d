"""An encoder in this process: whatever sentence-transformers loads, which is whatever transformers does."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from pathlib import Path

from specdec.embeddings.base import Embedded, TextKind
from specdec.errors import CheckpointCorrupt, CheckpointNotFound, InvalidRequest, extra, first_line

_AT_ONCE = 32


class LocalEmbedder:
    """Loads `model`, a folder or a hub id, with its own pooling and its own words before queries and documents; with
    the mean over all tokens where it says nothing of that. Texts longer than it reads are cut. Raises LoadError."""

    def __init__(self, model: str, device: str = "auto") -> None:
        with extra("embeddings", "an encoder"):
            from sentence_transformers import SentenceTransformer
        if model.startswith(("/", ".")) and not Path(model).is_dir():
            raise CheckpointNotFound(f"{model} is no folder")
        self.model = model
        self._lock = threading.Lock()
        try:
            self._encoder = SentenceTransformer(model, device=None if device == "auto" else device)
        except OSError as error:
            raise CheckpointNotFound(f"no encoder can be had by the name {model}: {first_line(error)}") from error
        except (ValueError, KeyError, RuntimeError) as error:
            raise CheckpointCorrupt(f"{model} cannot be loaded as an encoder: {first_line(error)}") from error
        self._dimensions = self._encoder.get_embedding_dimension() or 0

    def embed(self, texts: Sequence[str], kind: TextKind = "document", dimensions: int | None = None) -> Embedded:
        if dimensions is not None and not 1 <= dimensions <= self._dimensions:
            raise InvalidRequest("dimensions", dimensions, f"a whole number from 1 to {self._dimensions}")
        encode = self._encoder.encode_query if kind == "query" else self._encoder.encode_document
        with self._lock:
            rows = encode(list(texts), batch_size=_AT_ONCE, show_progress_bar=False, convert_to_numpy=True)
            tokens = sum(len(ids) for ids in self._encoder.tokenizer(list(texts), truncation=True)["input_ids"])
        vectors = [row.tolist()[:dimensions] for row in rows]
        lengths = [math.sqrt(math.fsum(x * x for x in vector)) or 1.0 for vector in vectors]  # all zeros stay so
        units = (tuple(x / length for x in vector) for vector, length in zip(vectors, lengths, strict=True))
        return Embedded(tuple(units), tokens)

    def close(self) -> None:
        """Its memory goes when nobody holds it."""
