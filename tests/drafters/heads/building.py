"""Tiny random heads, written in the layouts in which heads are published."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from specdec.models.base import Model

HIDDEN, FFN, HEADS, KV, SIZE = 32, 48, 4, 2, 16
KINDS = ("eagle3", "eagle3 of speculators", "peagle", "dflash", "dflash of speculators", "dflash2", "dspark")
"""`head` makes "dflash2 of speculators" too, and knows `windows`."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """What a head has to know of its target."""

    hidden: int
    layers: int
    vocab: int

    @classmethod
    def of(cls, target: Model) -> Sizes:
        assert target.ends is not None
        return cls(target.ends.hidden, target.ends.layers, target.info.vocab_size)


class Written:
    """Config and tensors of one head."""

    def __init__(self, sizes: Sizes, seed: int = 0, scale: float = 0.3) -> None:
        self.sizes, self._scale = sizes, scale
        self._generator = torch.Generator().manual_seed(seed)
        self.config: dict[str, Any] = {}
        self.tensors: dict[str, Tensor] = {}

    def add(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        for name, shape in shapes.items():
            values = torch.randn(shape, generator=self._generator)
            norm = "norm" in name
            self.tensors[name] = 1 + 0.1 * values if norm else values * self._scale
            if len(shape) == 2 and not norm:
                self.tensors[name] /= (shape[1] / 32) ** 0.5

    def layer(self, at: str, inner: int, *, normed: bool) -> None:
        hidden = self.sizes.hidden
        shapes = {
            "input_layernorm.weight": (hidden,),
            "post_attention_layernorm.weight": (hidden,),
            "self_attn.q_proj.weight": (HEADS * SIZE, inner),
            "self_attn.k_proj.weight": (KV * SIZE, inner),
            "self_attn.v_proj.weight": (KV * SIZE, inner),
            "self_attn.o_proj.weight": (hidden, HEADS * SIZE),
            "mlp.gate_proj.weight": (FFN, hidden),
            "mlp.up_proj.weight": (FFN, hidden),
            "mlp.down_proj.weight": (hidden, FFN),
        }
        if normed:
            shapes |= {"self_attn.q_norm.weight": (SIZE,), "self_attn.k_norm.weight": (SIZE,)}
        self.add({f"{at}.{name}": shape for name, shape in shapes.items()})

    def layers_config(self, kind: str, layers: int) -> dict[str, Any]:
        return {
            "model_type": kind,
            "hidden_size": self.sizes.hidden,
            "intermediate_size": FFN,
            "num_attention_heads": HEADS,
            "num_key_value_heads": KV,
            "head_dim": SIZE,
            "num_hidden_layers": layers,
            "vocab_size": self.sizes.vocab,
            "max_position_embeddings": 4096,
            "rms_norm_eps": 1e-5,
            "rope_theta": 500.0,
            "hidden_act": "silu",
        }

    def save(self, folder: Path, *, pickled: bool = False) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(self.config))
        tensors = {name: tensor.contiguous() for name, tensor in self.tensors.items()}
        if pickled:
            torch.save(tensors, folder / "pytorch_model.bin")
        else:
            save_file(tensors, folder / "model.safetensors")
        return folder


def head(kind: str, sizes: Sizes, *, seed: int = 0, **changes: Any) -> Written:
    """A random head of one of KINDS, or "dflash2 of speculators"; `changes` are fields of its config."""
    made = Written(sizes, seed)
    if kind == "eagle3":
        _eagle(made)
    elif kind in ("eagle3 of speculators", "peagle"):
        _eagle_of_speculators(made, "peagle" if kind == "peagle" else "eagle3", changes)
    elif kind in ("dflash", "dflash2"):
        _dflash(made)
        if kind == "dflash2":
            made.config["architectures"] = ["DFlash2DraftModel"]
            made.config["dflash_config"] |= _select(made)
    else:
        _block_of_speculators(made, kind.removesuffix(" of speculators"), changes)
    made.config |= changes
    return made


def _draft_vocabulary(made: Written, count: int) -> None:
    ids = torch.randperm(made.sizes.vocab, generator=torch.Generator().manual_seed(7))[:count].sort().values
    known = torch.zeros(made.sizes.vocab, dtype=torch.bool)
    known[ids] = True
    made.tensors |= {"d2t": ids - torch.arange(count), "t2d": known}
    made.add({"lm_head.weight": (count, made.sizes.hidden)})


def _eagle(made: Written, at: str = "midlayer") -> None:
    hidden = made.sizes.hidden
    made.config = {
        **made.layers_config("llama", 1),
        "architectures": ["LlamaForCausalLMEagle3"],
        "draft_vocab_size": made.sizes.vocab // 2,
    }
    made.add({"fc.weight": (hidden, 3 * hidden), f"{at}.hidden_norm.weight": (hidden,), "norm.weight": (hidden,)})
    made.layer(at, 2 * hidden, normed=False)
    _draft_vocabulary(made, made.sizes.vocab // 2)


def _of_speculators(made: Written, method: str, layers: Mapping[str, Any], **more: Any) -> None:
    made.config = {
        "speculators_model_type": method,
        "architectures": [f"{method.title()}Speculator"],
        "transformer_layer_config": dict(layers),
        "draft_vocab_size": made.sizes.vocab,
        "speculators_config": {
            "algorithm": method,
            "proposal_methods": [{"proposal_type": "greedy", "speculative_tokens": 5}],
            "default_proposal_method": "greedy",
            "verifier": {"name_or_path": "somebody/target", "architectures": ["LlamaForCausalLM"]},
        },
        **more,
    }


def _eagle_of_speculators(made: Written, method: str, changes: dict[str, Any]) -> None:
    hidden, layers = made.sizes.hidden, 2 if method == "peagle" else 1
    _eagle(made, at="layers.0")
    for i in range(1, layers):
        made.layer(f"layers.{i}", hidden, normed=False)
    ids = [1, made.sizes.layers // 2, made.sizes.layers - 1]
    more: dict[str, Any] = {"draft_vocab_size": made.sizes.vocab // 2, "eagle_aux_hidden_state_layer_ids": ids}
    if method == "peagle":
        made.add({"mask_hidden": (1, 1, 3 * hidden), "embed_tokens.weight": (made.sizes.vocab, hidden)})
        more |= {"mask_token_id": 5, "norm_before_residual": True}
    else:
        more |= {"fc_norm": True, "norm_output": True, **changes}
    if more.get("fc_norm"):
        made.add({f"fc_norm.{i}.weight": (hidden,) for i in range(3)})
    if more.get("norm_before_fc"):
        made.add({"input_norm.weight": (3 * hidden,)})
    _of_speculators(made, method, made.layers_config("llama", layers), **more)


def _block(made: Written, ids: int) -> None:
    hidden = made.sizes.hidden
    made.add({"fc.weight": (hidden, ids * hidden), "hidden_norm.weight": (hidden,), "norm.weight": (hidden,)})
    for i in range(2):
        made.layer(f"layers.{i}", hidden, normed=True)


_WINDOWS = {
    "layer_types": ["sliding_attention", "full_attention"], "sliding_window": 12, "use_sliding_window": True
}  # fmt: skip


def _dflash(made: Written) -> None:
    made.config = {
        **made.layers_config("qwen3", 2),
        **_WINDOWS,
        "architectures": ["DFlashDraftModel"],
        "num_target_layers": made.sizes.layers,
        "block_size": 8,
        "dflash_config": {"target_layer_ids": [0, made.sizes.layers - 2], "mask_token_id": 6},
    }
    _block(made, 2)


def _block_of_speculators(made: Written, method: str, changes: dict[str, Any]) -> None:
    layers = made.layers_config("qwen3", 2) | (_WINDOWS if changes.pop("windows", False) else {})
    ids = [1, made.sizes.layers - 1]
    values: dict[str, Any] = {"block_size": 6, "aux_hidden_state_layer_ids": ids, "mask_token_id": 6}
    _block(made, 2)
    if method == "dflash2":
        values |= _select(made)
    elif method == "dspark":
        values |= _mark(made, changes)
    _of_speculators(made, method, layers, **values)


def _select(made: Written) -> dict[str, Any]:
    """DFlash2's convolutions and selector, and the fields that describe them."""
    hidden, rank, vocab = made.sizes.hidden, 8, made.sizes.vocab
    for at in (f"layers.{i}.{name}_conv" for i in range(2) for name in ("attention", "mlp")):
        made.add({f"{at}.base_kernel": (2, 2, hidden), f"{at}.kernel_projection.weight": (4 * hidden // 8, hidden)})
    made.add({f"candidate_selector.{name}_codebook": (vocab, rank) for name in ("predecessor", "successor")})
    made.add({"candidate_selector.hidden_projection.weight": (rank, hidden)})
    return {"conv_kernel_size": 2, "conv_group_size": 8, "selector_rank": rank, "selector_top_k": 4}


def _mark(made: Written, changes: Mapping[str, Any]) -> dict[str, Any]:
    """DSpark's parts, and the fields that describe them."""
    rank, hidden, vocab = 8, made.sizes.hidden, made.sizes.vocab
    kind, reads = changes.get("markov_head_type", "gated"), changes.get("confidence_head_with_markov", True)
    made.add({
        "markov_head.markov_w1.weight": (vocab, rank),
        "markov_head.markov_w2.weight": (vocab, rank),
        "confidence_head.proj.weight": (1, hidden + rank * reads),
        "confidence_head.proj.bias": (1,),
    })  # fmt: skip
    if kind == "gated":
        made.add({"markov_head.gate_proj.weight": (rank, hidden + rank), "markov_head.gate_proj.bias": (rank,)})
    elif kind == "rnn":
        inner = 2 * rank + hidden
        made.add({"markov_head.joint_proj.weight": (3 * rank, inner), "markov_head.joint_proj.bias": (3 * rank,)})
    return {"markov_rank": rank, "markov_head_type": kind}
