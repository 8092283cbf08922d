"""What a head's config says, in each form in which heads are published.

Forms: SafeAILab's EAGLE-3, z-lab's DFlash and DFlash2, DeepSpec's DSpark, and that of vllm-project/speculators for all
of them and P-EAGLE.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from specdec.errors import CheckpointCorrupt, UnsupportedModel, first_line
from specdec.models import families
from specdec.models.families.base import ModelFamily
from specdec.models.weights.checkpoint import read_json
from specdec.types import MAX_SPECULATIVE_TOKENS

Method = Literal["eagle3", "peagle", "dflash", "dflash2", "dspark"]
MarkovKind = Literal["vanilla", "gated", "rnn"]
_LONGEST_BLOCK = 256
"""Many times those that are published: room for one is kept behind every context."""
_SELECTOR = ("selector_rank", "selector_top_k", "conv_kernel_size", "conv_group_size")
_FIXED = {
    "use_aux_hidden_state": True,
    "is_neox_style": True,
    "attention_sink_bias": False,
    "add_swa_attention_sink_bias": False,
}
"""Switches that some heads have, and the only way in which heads can be run: with the other one they compute something
else, and no tensor would be missed."""


@dataclass(frozen=True, slots=True)
class Switches:
    """How an EAGLE-3 head differs from the first ones."""

    norm_before_residual: bool = False
    norm_before_fc: bool = False
    fc_norm: bool = False
    norm_output: bool = False


@dataclass(frozen=True, slots=True)
class Block:
    """What a head fills in at once."""

    size: int
    """Rows, the last token's among them."""
    anchor: bool
    """Whether the last token's row proposes too."""
    causal_windows: bool
    """Whether layers with a window are causal inside the block; all others see all of it."""
    embedding_scale: float = 1.0
    multiplier: float = 1.0
    """Of what the vocabulary's product takes."""
    softcap: float | None = None


@dataclass(frozen=True, slots=True)
class Markov:
    """A bias of the logits by the token before (DSpark)."""

    rank: int
    kind: MarkovKind
    confidence: bool
    """Whether there is a guess of how likely each draft is accepted."""
    confidence_reads_token: bool


@dataclass(frozen=True, slots=True)
class Selector:
    """Scores of candidates after the token before (DFlash2)."""

    rank: int
    top_k: int
    taps: int
    group: int
    """Of the convolutions around attention and MLP: how many tokens, and channels that share a kernel."""


@dataclass(frozen=True, slots=True)
class HeadConfig:
    """One head, as its checkpoint describes it."""

    method: Method
    family: ModelFamily
    """Of its own layers; its vocabulary is the target's."""
    features: tuple[int, ...]
    """See `drafters.base.Drafter.features`."""
    target_hidden: int
    target_layers: int | None
    draft_vocab: int
    verifier: str | None
    """The target that it was trained for, where it says."""
    longest: int
    """Tokens that it proposes at once, at most."""
    mask_token: int = 0
    switches: Switches = Switches()
    block: Block | None = None
    markov: Markov | None = None
    selector: Selector | None = None


def method_of(folder: Path) -> Method | None:
    """What kind of head a folder holds; None for a model. Raises UnsupportedModel for a head of another kind."""
    if folder.is_file():  # of llama.cpp
        return None
    raw = read_json(folder / "config.json")
    named = raw.get("speculators_model_type")
    inner, kinds = raw.get("dflash_config") or {}, " ".join(map(str, raw.get("architectures") or ()))
    if named is not None:
        if named not in get_args(Method):
            raise UnsupportedModel(f"{folder} is a head of method {named!r}; expected one of {_METHODS}")
        return named  # type: ignore[no-any-return]
    if "DSpark" in kinds or "markov_rank" in raw or "markov_rank" in inner:
        return "dspark"
    if "DFlash2" in kinds or "selector_rank" in inner:
        return "dflash2"
    if "DFlash" in kinds or inner:
        return "dflash"
    if "Eagle3" in kinds or "eagle_config" in raw or "draft_vocab_size" in raw:
        return "eagle3"
    if "Eagle" in kinds or "Medusa" in kinds:
        raise UnsupportedModel(f"{folder} is a head of method {kinds!r}; expected one of {_METHODS}")
    return None


_METHODS = ", ".join(get_args(Method))


def verifier_of(folder: Path) -> str | None:
    """The target that a head names; None for one that names none, and for a model."""
    raw = read_json(folder / "config.json")
    verifier = (raw.get("speculators_config") or {}).get("verifier") or {}
    return verifier.get("name_or_path")


def read(folder: Path, target_layers: int) -> HeadConfig:
    """The config of the head in `folder`, for a target of so many layers. Raises CheckpointCorrupt for one that lacks
    something or makes no sense, UnsupportedModel for a method that there is not."""
    method = method_of(folder)
    if method is None:
        raise UnsupportedModel(f"{folder} holds no head; expected one of {_METHODS}")
    raw = read_json(folder / "config.json")
    fields = _Fields(folder, raw | (raw.get("dflash_config") or {}) | (raw.get("eagle_config") or {}))
    for switch, only in _FIXED.items():
        if fields.values.get(switch) not in (None, only):
            raise UnsupportedModel(f"{folder}/config.json: {switch} is {not only}; expected {only}")
    described = raw.get("transformer_layer_config", raw)
    family = _family(folder, described)
    eagle = method in ("eagle3", "peagle")
    if not eagle:
        family = replace(family, windows=_windows(fields, described, family))
    block = None if eagle else _block(fields, method, family, described)
    rows = MAX_SPECULATIVE_TOKENS if block is None else block.size - (not block.anchor)
    # what enters a layer is what the layers before it put out, so EAGLE's numbers are ours already
    usual, named = (2, target_layers // 2, target_layers - 3), "eagle_aux_hidden_state_layer_ids"
    return HeadConfig(
        method=method,
        family=family,
        features=(fields.ids(named) or usual) if eagle else _block_layers(fields, family, target_layers),
        target_hidden=fields.whole("target_hidden_size", family.hidden),
        target_layers=raw.get("num_target_layers"),
        draft_vocab=fields.whole("draft_vocab_size", family.vocab),
        verifier=verifier_of(folder),
        longest=min(rows, MAX_SPECULATIVE_TOKENS - 1),  # with the last token no more than 16 rows
        mask_token=0 if method == "eagle3" else fields.whole("mask_token_id", None, least=0),
        switches=Switches(*(bool(raw.get(name)) for name in Switches.__dataclass_fields__)) if eagle else Switches(),
        block=block,
        markov=_markov(fields) if method == "dspark" else None,
        selector=Selector(*(fields.whole(name, None) for name in _SELECTOR)) if method == "dflash2" else None,
    )


class _Fields:
    """Values of a config, and what is said where one is wrong."""

    def __init__(self, folder: Path, values: Mapping[str, Any]) -> None:
        self.folder, self.values = folder, values

    def whole(self, name: str, default: int | None, *, least: int = 1, most: int | None = None) -> int:
        value = self.values.get(name, default)
        value = default if value is None else value
        if not isinstance(value, int) or value < least or (most is not None and value > most):
            ends = "on" if most is None else f"to {most}"
            raise CheckpointCorrupt(
                f"{self.folder}/config.json: {name} is {value!r}; expected a whole number from {least} {ends}"
            )
        return value

    def ids(self, *names: str) -> tuple[int, ...] | None:
        found = next((self.values[n] for n in names if self.values.get(n) is not None), None)
        if found is not None and not (isinstance(found, list) and found and all(isinstance(i, int) for i in found)):
            raise CheckpointCorrupt(f"{self.folder}/config.json: {names[0]} is {found!r}; expected layers' numbers")
        return None if found is None else tuple(found)


def _family(folder: Path, described: Mapping[str, Any]) -> ModelFamily:
    """The layers of a head, which are those of a model of some type."""
    from transformers import AutoConfig

    values = {name: value for name, value in described.items() if name not in ("auto_map", "transformers_version")}
    try:
        config = AutoConfig.for_model(values.pop("model_type", "llama"), **values)
    except Exception as error:  # transformers' strict configs raise their own kinds
        raise CheckpointCorrupt(f"{folder}/config.json does not make sense: {first_line(error)}") from error
    family = families.describe(config)
    if family is None:
        raise UnsupportedModel(f"{folder} is a head of {config.model_type} layers, which cannot be run here")
    return family


def _block_layers(fields: _Fields, family: ModelFamily, target_layers: int) -> tuple[int, ...]:
    """z-lab counts layers from 0 and means their outputs; speculators counts those outputs, the embedding first."""
    if (found := fields.ids("aux_hidden_state_layer_ids")) is not None:
        return found
    found = fields.ids("target_layer_ids")
    if found is None:
        last, count = target_layers - 4, family.layers
        found = (target_layers // 2,)
        if count > 1:
            found = tuple(round(1 + i * last / (count - 1)) for i in range(count))
    return tuple(i + 1 for i in found)


def _windows(fields: _Fields, described: Mapping[str, Any], family: ModelFamily) -> tuple[int | None, ...]:
    """Per layer; z-lab may give one for all."""
    types, window = described.get("layer_types"), fields.values.get("swa_window_size", described.get("sliding_window"))
    if types is not None and len(types) == family.layers and "sliding_attention" in types:
        return tuple(window if kind == "sliding_attention" else None for kind in types)
    return (fields.whole("swa_window_size", window) if fields.values.get("use_swa") else None,) * family.layers


def _block(fields: _Fields, method: Method, family: ModelFamily, described: Mapping[str, Any]) -> Block:
    values = fields.values
    return Block(
        size=fields.whole("block_size", None, least=2, most=_LONGEST_BLOCK),
        anchor=bool(values.get("sample_from_anchor", method == "dspark")),
        causal_windows=_causal_windows(fields, method, family, described),
        embedding_scale=float(values.get("input_embedding_scale") or 1.0),
        multiplier=float(values.get("output_multiplier") or 1.0),
        softcap=values.get("final_logit_softcapping") or None,
    )


def _causal_windows(fields: _Fields, method: Method, family: ModelFamily, described: Mapping[str, Any]) -> bool:
    """z-lab says it for all layers, or not at all: then windows of `layer_types` are causal, one for all is not."""
    values = fields.values
    if "transformer_layer_config" in values:
        return not values.get("sliding_window_non_causal", method == "dflash2")
    told = next((values[name] for name in ("is_causal", "causal") if values.get(name) is not None), None)
    if told and None in family.windows:
        raise UnsupportedModel(f"{fields.folder}/config.json: causal is {told}; expected a window in every layer then")
    return "sliding_attention" in (described.get("layer_types") or ()) if told is None else bool(told)


def _markov(fields: _Fields) -> Markov | None:
    values = fields.values
    if not values.get("markov_rank", 256):
        return None
    kind: Any = values.get("markov_head_type") or "vanilla"
    if kind not in get_args(MarkovKind):
        raise UnsupportedModel(
            f"{fields.folder}: markov_head_type is {kind!r}; expected {' or '.join(get_args(MarkovKind))}"
        )
    return Markov(
        fields.whole("markov_rank", 256),
        kind,
        bool(values.get("enable_confidence_head", True)),
        bool(values.get("confidence_head_with_markov", True)),
    )
