"""The checkpoint that a training begins with: a new drafter for a target.

Heads are written in the form of vllm-project/speculators, which names the target that they are for.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from specdec.errors import UnsupportedModel
from specdec.models import families
from specdec.models.families.base import ModelFamily
from specdec.models.weights.checkpoint import TensorSource
from specdec.models.weights.sources import PlainTensors, read_config
from specdec.text.tokenizer import Tokenizer
from specdec.training.options import Kind, TrainingOptions
from specdec.training.weights import write_tensors
from specdec.training.workspace import replacing

_DRAFT_VOCAB = 32_000
"""Of an EAGLE-3 head: the tokens that the target says most."""
_MOST_LAYERS = 5
_COPIED = ("tokenizer*", "*.jinja", "special_tokens_map.json", "generation_config.json", "vocab.*", "merges.txt")


@dataclass(frozen=True, slots=True)
class TargetFacts:
    """What a new drafter has to know of its target."""

    name: str
    folder: Path
    config: Any
    """transformers' own, of its text."""
    mask_token: int
    """A token that texts do not hold."""

    @property
    def place(self) -> str:
        """Where others find it, wherever they are started: its hub id, or its whole path."""
        here = Path(self.name)
        return str(here.resolve()) if here.exists() and here.samefile(self.folder) else self.name

    @property
    def hidden(self) -> int:
        return int(self.config.hidden_size)

    @property
    def layers(self) -> int:
        return int(self.config.num_hidden_layers)

    @property
    def vocab(self) -> int:
        return int(self.config.vocab_size)


def target_facts(name: str, folder: Path, tokens: int, eos: int) -> TargetFacts:
    """Of the target in a folder, whose tokenizer has so many tokens and ends texts with `eos`."""
    config = read_config(folder).get_text_config()
    spare = tokens if tokens < config.vocab_size else None
    padding = getattr(config, "pad_token_id", None)
    mask = next(token for token in (spare, padding, eos) if token is not None)
    return TargetFacts(name, folder, config, mask)


def default_layers(kind: Kind, target_layers: int) -> int:
    """How many a new drafter has."""
    if kind == "eagle3":
        return 1
    if kind == "model":
        return max(1, min(max(3, target_layers // 10), target_layers - 1))
    return max(1, min(_MOST_LAYERS, target_layers // 4))


def feature_layers(target_layers: int, count: int) -> list[int]:
    """Which outputs a new head reads: from the second layer's to the last but one's."""
    first, last = min(2, target_layers - 1), target_layers - 1
    return sorted({round(first + i * (last - first) / max(count - 1, 1)) for i in range(count)} - {0}) or [last]


def own_layers(target_layers: int, count: int) -> list[int]:
    """Which of the target's layers a small model begins with: its first ones, and the last, which the head reads."""
    return [*range(count - 1), target_layers - 1]


def parameters_of(facts: TargetFacts, options: TrainingOptions, layers: int) -> int:
    """Those that learn, of a new drafter with so many layers."""
    if options.kind == "model":
        family = family_of(facts.config, facts.name)
        return layers * sum(map(prod, _layer_shapes(family, "", family.hidden, normed=False).values()))
    ids = features_of(facts, options.kind, layers)
    shapes = _shapes(_family(_layers_config(facts, options.kind, layers)), options.kind, len(ids) * facts.hidden)
    own_head = min(facts.vocab, _DRAFT_VOCAB) * facts.hidden if options.kind == "eagle3" else 0
    return sum(prod(shape) for shape in shapes.values()) + own_head


def write_model(folder: Path, facts: TargetFacts, layers: int, dtype: torch.dtype) -> None:
    """A small model of the target's family: its own embedding and head, and some of its own layers between them. It
    learns sooner than one of the same size that begins with chance (Xia et al. 2024, "Sheared LLaMA")."""
    family = family_of(facts.config, facts.name)
    with closing(PlainTensors(facts.folder)) as source:
        tensors = dict(_own(source, family, own_layers(family.layers, layers)))
    config = _shortened(facts.config, own_layers(family.layers, layers))
    tied = f"{family.names.head}.weight" not in tensors
    write_config(folder, config | {"tie_word_embeddings": tied, "dtype": str(dtype).removeprefix("torch.")})
    copy_tokenizer(facts.folder, folder)
    write_tensors(folder, tensors, dtype)  # the last: once it is there, learning goes on from it


def _own(source: TensorSource, family: ModelFamily, layers: Sequence[int]) -> Iterator[tuple[str, Tensor]]:
    """The tensors of a small model, from the target's."""
    names, table = family.names, (family.vocab, family.hidden)
    prefix = "model." if f"model.{names.embedding}.weight" in source else ""
    yield f"model.{names.embedding}.weight", source.get(f"{prefix}{names.embedding}.weight", table)
    yield f"model.{names.norm}.weight", source.get(f"{prefix}{names.norm}.weight", (family.hidden,))
    if not family.tied:
        yield f"{names.head}.weight", source.get(f"{names.head}.weight", table)
    for at, index in enumerate(layers):
        stored, own = (names.layer.format(index=i) for i in (index, at))
        normed = f"{prefix}{stored}.{names.head_norms[0]}.weight" in source
        for name, shape in _layer_shapes(family, "", family.hidden, normed=normed).items():
            yield f"model.{own}{name}", source.get(f"{prefix}{stored}{name}", shape)
            bias = name.removesuffix("weight") + "bias"
            if f"{prefix}{stored}{bias}" in source:
                yield f"model.{own}{bias}", source.get(f"{prefix}{stored}{bias}", (shape[0],))


def _shortened(config: Any, layers: Sequence[int]) -> dict[str, Any]:
    """The config of a model with these of its layers, in plain weights."""
    values: dict[str, Any] = config.to_dict() | {"num_hidden_layers": len(layers)}
    values.pop("quantization_config", None)
    if values.get("layer_types"):
        values["layer_types"] = [values["layer_types"][i] for i in layers]
    return values


def write_head(
    folder: Path,
    facts: TargetFacts,
    options: TrainingOptions,
    layers: int,
    said: Sequence[int],
    product: Tensor,
    seen: Tensor,
) -> None:
    """A head that has learnt nothing. `said`: tokens of the target's answers, for the draft vocabulary; `product`: the
    target's own head [V, H]; `seen`: some features [R, n * H]."""
    known = _known_tokens(facts, said) if options.kind == "eagle3" else None
    draft_vocab = facts.vocab if known is None else len(known)
    ids = features_of(facts, options.kind, layers)
    described = _layers_config(facts, options.kind, layers)
    shapes = _shapes(_family(described), options.kind, len(ids) * facts.hidden)
    tensors = _first_values(_family(described), shapes, torch.Generator().manual_seed(options.seed))
    _even_out(tensors, seen.float().cpu(), options.kind, len(ids))
    if options.kind == "eagle3":
        tensors["lm_head.weight"] = (product if known is None else product[known.to(product.device)]).float()
    if known is not None:
        there = torch.zeros(facts.vocab, dtype=torch.bool)
        there[known] = True
        tensors |= {"d2t": known - torch.arange(len(known)), "t2d": there}
    more: dict[str, Any] = {"eagle_aux_hidden_state_layer_ids": ids, "norm_before_residual": True, "fc_norm": True}
    if options.kind == "dflash":
        block = options.drafts + 1
        more = {"aux_hidden_state_layer_ids": ids, "block_size": block, "mask_token_id": facts.mask_token}
    write_config(folder, speculators_config(options.kind, described, draft_vocab, facts, options.drafts) | more)
    write_tensors(folder, tensors, torch.float32)


def _even_out(tensors: dict[str, Tensor], seen: Tensor, kind: Kind, count: int) -> None:
    """Let all numbers of the features count alike at first: one of them can be most of what a layer puts out, and one
    layer's many times another's."""
    if kind == "dflash":
        tensors["fc.weight"] /= _size(seen, 0)
        return
    for index, feature in enumerate(seen.chunk(count, -1)):
        tensors[f"fc_norm.{index}.weight"] = 1 / _size(feature / _size(feature, -1), 0)[0]


def _size(x: Tensor, dim: int) -> Tensor:
    return x.square().mean(dim, keepdim=True).sqrt().clamp(min=1e-6)


def write_config(folder: Path, config: Mapping[str, Any]) -> None:
    """As config.json."""
    with replacing(folder / "config.json") as fresh:
        fresh.write_text(json.dumps(config, indent=2, default=str) + "\n")


def features_of(facts: TargetFacts, kind: Kind, layers: int) -> list[int]:
    """Which of the target's outputs a new head reads."""
    return feature_layers(facts.layers, 3 if kind == "eagle3" else max(3, layers))


def _layers_config(facts: TargetFacts, kind: Kind, layers: int) -> dict[str, Any]:
    """A head's own layers, shaped like the target's."""
    config = facts.config
    heads_, hidden = config.num_attention_heads, facts.hidden
    rotary = getattr(config, "rope_parameters", None) or {}
    return {
        "model_type": "qwen3" if kind == "dflash" else "llama",
        "hidden_size": hidden,
        "intermediate_size": getattr(config, "intermediate_size", None) or 3 * hidden,
        "num_attention_heads": heads_,
        "num_key_value_heads": getattr(config, "num_key_value_heads", None) or heads_,
        "head_dim": getattr(config, "head_dim", None) or hidden // heads_,
        "num_hidden_layers": layers,
        "vocab_size": facts.vocab,
        "max_position_embeddings": config.max_position_embeddings,
        "rms_norm_eps": getattr(config, "rms_norm_eps", 1e-6),
        "hidden_act": "silu",
        "tie_word_embeddings": False,
        "rope_parameters": {"rope_type": "default", "rope_theta": rotary.get("rope_theta", 10_000.0)},
    }


def _family(described: Mapping[str, Any]) -> ModelFamily:
    from transformers import AutoConfig

    values = dict(described)
    family = families.describe(AutoConfig.for_model(values.pop("model_type"), **values))
    assert family is not None
    return family


def _shapes(family: ModelFamily, kind: Kind, features: int) -> dict[str, tuple[int, ...]]:
    """The tensors of a head that reads so many numbers of the target."""
    hidden, inner = family.hidden, family.hidden * (2 if kind == "eagle3" else 1)
    shapes: dict[str, tuple[int, ...]] = {"fc.weight": (hidden, features), "norm.weight": (hidden,)}
    if kind == "eagle3":
        shapes |= {f"fc_norm.{index}.weight": (hidden,) for index in range(features // hidden)}
    shapes["layers.0.hidden_norm.weight" if kind == "eagle3" else "hidden_norm.weight"] = (hidden,)
    for index in range(family.layers):
        shapes |= _layer_shapes(family, f"layers.{index}", inner, normed=kind == "dflash")
    return shapes


def _layer_shapes(family: ModelFamily, at: str, inner: int, *, normed: bool) -> dict[str, tuple[int, ...]]:
    names, hidden, size = family.names, family.hidden, family.head_dim
    wide, narrow = family.heads * size, family.kv_heads * size
    shapes: dict[str, tuple[int, ...]] = {
        names.input_norm: (hidden,),
        names.mlp_norm: (hidden,),
        **dict(zip(names.qkv, [(wide, inner), (narrow, inner), (narrow, inner)], strict=True)),
        names.out: (hidden, wide),
        **dict.fromkeys(names.gate_up, (family.intermediate, hidden)),
        names.down: (hidden, family.intermediate),
    }
    if normed:
        shapes |= dict.fromkeys(names.head_norms, (size,))
    return {f"{at}.{name}.weight": shape for name, shape in shapes.items()}


def _first_values(
    family: ModelFamily, shapes: Mapping[str, tuple[int, ...]], generator: torch.Generator
) -> dict[str, Tensor]:
    """Layers that add nothing yet to what goes through them."""
    last = (f"{family.names.out}.weight", f"{family.names.down}.weight")
    tensors: dict[str, Tensor] = {}
    for name, shape in shapes.items():
        if name.endswith(last):
            tensors[name] = torch.zeros(shape)
        elif len(shape) == 1:
            tensors[name] = torch.ones(shape)
        else:
            tensors[name] = torch.randn(shape, generator=generator) * shape[1] ** -0.5
    return tensors


def _known_tokens(facts: TargetFacts, said: Sequence[int]) -> Tensor | None:
    """The draft vocabulary, in order; None: all tokens."""
    if facts.vocab <= _DRAFT_VOCAB:
        return None
    counts = torch.bincount(torch.tensor(said), minlength=facts.vocab)
    return counts.argsort(descending=True, stable=True)[:_DRAFT_VOCAB].sort().values


def speculators_config(
    method: str, described: Mapping[str, Any], draft_vocab: int, facts: TargetFacts, drafts: int
) -> dict[str, Any]:
    """The fields that all heads of that form have."""
    return {
        "speculators_model_type": method,
        "architectures": ["Eagle3Speculator" if method == "eagle3" else "DFlashDraftModel"],
        "transformer_layer_config": dict(described),
        "draft_vocab_size": draft_vocab,
        "target_hidden_size": facts.hidden,
        "speculators_config": {
            "algorithm": method,
            "proposal_methods": [{"proposal_type": "greedy", "speculative_tokens": drafts}],
            "default_proposal_method": "greedy",
            "verifier": {"name_or_path": facts.place, "architectures": list(facts.config.architectures or ())},
        },
    }


def family_of(config: Any, name: str) -> ModelFamily:
    """Of a small model that is to learn. Raises UnsupportedModel."""
    if (family := families.describe(config)) is None:
        raise UnsupportedModel(
            f"{name} is of a family whose models cannot be trained here ({config.model_type}); expected one of "
            + ", ".join(sorted(families.FAMILIES))
        )
    return family


def copy_tokenizer(source: Path, folder: Path) -> None:
    """What makes a folder of weights a model that can be loaded."""
    if source.is_file():  # of llama.cpp
        Tokenizer.load(source).save(folder)
    for pattern in _COPIED:
        for file in source.glob(pattern):
            with replacing(folder / file.name) as fresh:
                shutil.copy(file, fresh)
