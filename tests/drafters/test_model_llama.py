"""The draft model over a real model: a small random Llama, in full precision on the CPU."""

from __future__ import annotations

import random
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from specdec.drafters.model import DraftModelDrafter
from specdec.models.loading import load_model

from .rounds import context, goes_on, round_of, rows

VOCAB = 64


def greedy(model: LlamaForCausalLM, prefix: list[int], k: int) -> list[int]:
    """k tokens without any cache."""
    tokens = list(prefix)
    for _ in range(k):
        with torch.inference_mode():
            tokens.append(int(model(input_ids=torch.tensor([tokens])).logits[0, -1].argmax()))
    return tokens[len(prefix) :]


def test_drafts_are_the_draft_models_own(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.3,
    )
    reference = LlamaForCausalLM(config).eval()
    reference.save_pretrained(tmp_path)
    model = load_model(tmp_path, device="cpu", dtype="float32", slots=3)
    drafter = DraftModelDrafter(model, VOCAB, torch.device("cpu"))
    rng = random.Random(0)
    contexts = [
        context([rng.randrange(VOCAB) for _ in range(n)], sequence=n, slot=i) for i, n in enumerate((3, 40, 17))
    ]
    for _ in range(6):
        drafted = rows(drafter.propose(round_of(contexts), 4))
        for c, row in zip(contexts, drafted, strict=True):
            assert row == greedy(reference, c.tokens, 4)
            goes_on(drafter, c, row[: rng.randrange(5)], rng.randrange(VOCAB))
