"""What the modules of PyPI's `speculators` make of a head, in an environment that has it (see `test_reference.py`).

    python -m tests.drafters.heads.speculators_logits ASKED ANSWERED

Reads the head's folder, the target's embedding and head, features and tokens; writes, for each length that the sequence
has at the start of a round, the drafts, the logits that they came from, and, if it says, how likely each is accepted.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor


def main() -> None:
    asked = torch.load(sys.argv[1], weights_only=True)
    model = loaded(Path(asked["folder"]), asked)
    propose = eagle if hasattr(model, "input_norm") else block
    with torch.inference_mode():
        found = [
            propose(model, asked["features"][: end - 1], asked["tokens"][:end], asked["k"]) for end in asked["ends"]
        ]
    torch.save(found, sys.argv[2])


def loaded(folder: Path, asked: dict[str, Any]) -> Any:
    from safetensors.torch import load_file
    from speculators import SpeculatorModelConfig
    from speculators.models.dflash import DFlashDraftModel
    from speculators.models.dflash2 import DFlash2DraftModel
    from speculators.models.dspark import DSparkDraftModel
    from speculators.models.eagle3 import Eagle3DraftModel
    from speculators.models.peagle.core import PEagleDraftModel

    config = SpeculatorModelConfig.from_pretrained(folder)
    config.transformer_layer_config._attn_implementation = "eager"
    classes = (Eagle3DraftModel, PEagleDraftModel, DFlashDraftModel, DFlash2DraftModel, DSparkDraftModel)
    model = next(c for c in classes if c.config_class is type(config))(config).eval()
    tensors = load_file(folder / "model.safetensors")
    shared = {"embed_tokens.weight": asked["embedding"], "lm_head.weight": asked["head"]}
    wrong = model.load_state_dict({**shared, **tensors}, strict=False)
    assert not wrong.unexpected_keys, wrong
    assert all("verifier" in name for name in wrong.missing_keys), wrong
    return model


def ids(model: Any, drafts: Tensor) -> Tensor:
    """The target's."""
    return drafts if model.d2t is None else drafts + model.d2t[drafts]


def eagle(model: Any, features: Tensor, tokens: Tensor, k: int) -> tuple[list[int], Tensor, Tensor | None]:
    from transformers import DynamicCache

    cache, parallel = DynamicCache(), hasattr(model, "mask_hidden")
    if parallel:
        features = torch.cat((features, model.mask_hidden[0].expand(k - 1, -1)))
        tokens = torch.cat((tokens, torch.full((k - 1,), model.mask_token_id)))
    x = features.unsqueeze(0)
    if model.input_norm is not None:
        x = model.input_norm(x)
    if model.fc_norm is not None:
        parts = x.chunk(len(model.fc_norm), -1)
        x = torch.cat([norm(part) for norm, part in zip(model.fc_norm, parts, strict=True)], -1)
    hidden, behind, start = model.fc(x), tokens[1:].unsqueeze(0), 0
    drafts, logits = list[int](), list[Tensor]()
    while len(drafts) < k:
        count = hidden.shape[1]
        joined = torch.cat((model.embed_tokens(behind), hidden), -1)
        at = torch.arange(start, start + count).unsqueeze(0)
        rotary, mask = model.rotary_emb(joined, at), torch.full((count, start + count), float("-inf")).triu(start + 1)
        for layer in model.layers:
            joined = layer(
                joined,
                attention_mask=mask[None, None],
                position_ids=at,
                past_key_values=cache,
                position_embeddings=rotary,
            )
        said = model.norm(joined)
        rows = model.lm_head(said)[0, -k if parallel else -1 :]
        for row in rows:
            logits.append(row)
            drafts.append(int(ids(model, row.argmax())))
        hidden = (said if model.config.norm_output else joined)[:, -1:]
        behind, start = torch.tensor([[drafts[-1]]]), start + count
    return drafts, torch.stack(logits), None


def block(model: Any, features: Tensor, tokens: Tensor, k: int) -> tuple[list[int], Tensor, Tensor | None]:
    from speculators.models.attention import create_float_mask
    from speculators.models.dflash.attention import create_anchor_block_mask_mod

    size, length = model.block_size, len(tokens)
    anchor = torch.tensor([length - 1])
    given = torch.full((1, size), model.mask_token_id)
    given[0, 0] = tokens[-1]
    x, context = model.embed_tokens(given), model.hidden_norm(model.fc(features)).unsqueeze(0)
    padded = torch.cat((context, torch.zeros_like(context[:, :1])), 1)  # the anchor's own place, which nobody sees
    positions = torch.cat((torch.arange(length), torch.arange(length - 1, length - 1 + size))).unsqueeze(0)
    rotary = model.rotary_emb(x, positions)
    for index, layer in enumerate(model.layers):
        window = model.sliding_window if index in model.sliding_window_indices else None
        seen = create_anchor_block_mask_mod(
            torch.zeros(length, dtype=torch.long), length, anchor, size, window, model.sliding_window_non_causal
        )
        seen = seen[0] if isinstance(seen, tuple) else seen
        mask = create_float_mask(seen, Q_LEN=size, KV_LEN=length + size, dtype=torch.float32)
        x = layer(hidden_states=x, target_hidden=padded, attention_mask=mask, position_embeddings=rotary)
    first = 0 if model.config.sample_from_anchor else 1
    hidden = model.norm(x)[:, first : first + k]
    return walked(model, hidden, model.lm_head(hidden), int(tokens[-1]))


def walked(model: Any, hidden: Tensor, logits: Tensor, last: int) -> tuple[list[int], Tensor, Tensor | None]:
    """hidden [1, k, H] and the rows' own logits [1, k, V], with what follows from the token before."""
    before, found = [last], list[Tensor]()
    for j in range(hidden.shape[1]):
        row = logits[0, j]
        if getattr(model, "markov_head", None) is not None:
            bias = model.markov_head.block_bias(prev_token_ids=torch.tensor([before]), hidden_states=hidden[:, : j + 1])
            row = row + bias[0, j]
        elif hasattr(model, "candidate_selector"):
            at, scores = model.candidate_selector.select(row[None], hidden[0, j : j + 1], torch.tensor(before[-1:]))
            row = torch.full_like(row, float("-inf")).scatter(0, at[0], scores[0])
        found.append(row)
        before.append(int(ids(model, row.argmax())))
    chances = None
    if getattr(model, "confidence_head", None) is not None:
        reads = hidden
        if model.config.confidence_head_with_markov:
            reads = torch.cat((hidden, model.markov_head.prev_embeddings(torch.tensor([before[:-1]]))), -1)
        chances = model.confidence_head(reads)[0].sigmoid()
    return before[1:], torch.stack(found), chances


if __name__ == "__main__":
    main()
