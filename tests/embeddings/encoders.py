"""A tiny encoder, and embedders that are no models."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from specdec.embeddings import Embedded, TextKind
from specdec.errors import InvalidRequest

WORDS = ("[PAD]", "[UNK]", "the", "fox", "ferry", "leaves", "at", "noon", "when", "does", "a", "den", "in", "wood")


def save_encoder(folder: Path) -> Path:
    """Random weights, in transformers' form, with nothing of sentence-transformers' own."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    torch.manual_seed(0)
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]", model_max_length=8)
    fast.save_pretrained(folder)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(vocab_size=len(WORDS), max_position_embeddings=8, **sizes)).save_pretrained(folder)
    return folder


class CountingEmbedder:
    """Counts the words of WORDS; a query is a document but for its length in `seen`."""

    model = "counting"

    def __init__(self) -> None:
        self.seen: list[tuple[tuple[str, ...], TextKind]] = []
        self.closed = False

    def embed(self, texts: Sequence[str], kind: TextKind = "document", dimensions: int | None = None) -> Embedded:
        if dimensions is not None and dimensions > len(WORDS):
            raise InvalidRequest("dimensions", dimensions, f"a whole number from 1 to {len(WORDS)}")
        self.seen.append((tuple(texts), kind))
        counts = [[float(text.split().count(word)) for word in WORDS[:dimensions]] for text in texts]
        vectors = tuple(tuple(x / (math.hypot(*row) or 1.0) for x in row) for row in counts)
        return Embedded(vectors, sum(len(text.split()) for text in texts))

    def close(self) -> None:
        self.closed = True
