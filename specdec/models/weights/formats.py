"""Whether the weights of a checkpoint mean what a model would take them for.

Told by their config and the headers of their files before anything is loaded, and by the tensors that were left over.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from specdec.errors import UnsupportedModel
from specdec.models import families
from specdec.models.weights.checkpoint import Safetensors, headers, read_json
from specdec.models.weights.methods import reader
from specdec.models.weights.methods.base import Method

PACKAGES = {
    "aqlm": ("aqlm", "accelerate"),
    "auto-round": ("auto-round",),
    "awq": ("gptqmodel", "accelerate"),
    "bitnet": ("accelerate",),
    "bitsandbytes": ("bitsandbytes", "accelerate"),
    "compressed-tensors": ("compressed-tensors",),
    "fp8": ("accelerate",),
    "gptq": ("gptqmodel", "optimum"),
    "hqq": ("hqq", "accelerate"),
    "mxfp4": ("accelerate",),
    "mxfp8": ("accelerate",),
    "torchao": ("torchao",),
    "vptq": ("vptq", "accelerate"),
}
"""What transformers needs to read the formats that people mostly have. Of others it says so itself."""
_PLAIN = ("F64", "F32", "F16", "BF16", "BOOL")
_MODELOPT = "hf_quant_config.json"
_SPARE = re.compile(
    r"""
    inv_freq$ | embed_positions\.weights$ | (^|\.)position_ids$  # computed from the config
    | \.(attn|attention)(\.attention)?\.(masked_bias|bias|causal_mask)$  # causal masks, which were once stored
    | (^|\.)mtp(_\w+)?\.  # guesses further tokens; the model runs without
    | (^|\.)(visual|vision_\w+|audio_tower|multi_modal_projector)\.  # text does not pass it
    | (^|\.)(v_head|score)\.  # another head, of training
    | \.(input|output)_(global_)?(scale|zero_point)$ | \.activation_scale$  # for activations in few bits
    | \.([kv]_proj\.)?[kqv]_scale$ | \.[kv]_proj\.output_scale$  # for keys and values in 8 bits; here they are not
    """,
    re.VERBOSE,
)
"""Tensors that a model may leave in its files: it computes the same with and without them."""
_SHOWN = 3


def quantization(config: Any) -> dict[str, Any] | None:
    """What the config says of quantised weights; None where they are plain."""
    found = getattr(config, "quantization_config", None) or getattr(
        config.get_text_config(), "quantization_config", None
    )
    if found is None:
        return None
    return dict(found) if isinstance(found, dict) else dict(found.to_dict())


def method_of(config: Any) -> str | None:
    """How the config says that the weights are quantised; None for plain ones, "" where it gives no name."""
    values = quantization(config)
    if values is None:
        return None
    bits, method = values.get("load_in_4bit") or values.get("load_in_8bit"), values.get("quant_method")
    return str(getattr(method, "value", method) or ("bitsandbytes" if bits else ""))  # transformers has its own kinds


def reader_of(config: Any) -> Method | None:
    """What reads the quantised weights of a described family; None for plain ones, and for those left to
    transformers."""
    values = quantization(config)
    return None if values is None or families.describe(config) is None else reader(values)


def activations(config: Any) -> bool:
    """Whether the checkpoint would have activations in few bits as well, which are left in 16 here."""
    values = quantization(config) or {}
    groups = (values.get("config_groups") or {}).values()
    return "activation_scheme" in values or any(group.get("input_activations") for group in groups)


def check(folder: Path, config: Any) -> None:
    """Raise UnsupportedModel for weights that would be misread, or that nothing installed here can read, and
    CheckpointCorrupt for files that are missing or damaged."""
    method = method_of(config)
    if method is not None:
        if reader_of(config) is None:
            _check_known(folder, method)
        return
    # ModelOpt may write what it did into a file of its own and nowhere else
    said = read_json(folder / _MODELOPT).get("quantization") if (folder / _MODELOPT).exists() else {}
    if kind := said.get("quant_algo") if isinstance(said, dict) else "unknown":
        raise UnsupportedModel(
            f"{folder} holds weights in ModelOpt's {kind} ({_MODELOPT}), which cannot be read here; "
            "expected the model in 16 bits"
        )
    # of integers and 8-bit floats only a format can say what numbers they stand for
    coded = [h for h in headers(folder) if h.dtype not in _PLAIN and not _is_spare(h.name, config)]
    if coded := [h for h in coded if h.name.endswith("weight") or len(h.shape) > 1]:
        raise UnsupportedModel(
            f"{folder}: {coded[0].name} is stored as {coded[0].dtype} (and {len(coded) - 1} more like it), but its "
            "config names no quantization_config; expected one that says how to read it, or the model in 16 bits"
        )
    if families.describe(config) is not None:
        Safetensors(folder).close()  # what it runs is read from these alone


def _check_known(folder: Path, method: str) -> None:
    from transformers.quantizers.auto import AUTO_QUANTIZER_MAPPING

    names = {name.removesuffix("_4bit").removesuffix("_8bit") for name in AUTO_QUANTIZER_MAPPING}
    if method not in names:
        raise UnsupportedModel(
            f"{folder}: the quant_method of its weights is {method or None!r}, which cannot be read here; expected "
            f"one of {', '.join(sorted(PACKAGES))}, or the model in 16 bits"
        )
    if missing := [name for name in PACKAGES.get(method, ()) if find_spec(name.replace("-", "_")) is None]:
        needed = " ".join(missing)
        raise UnsupportedModel(
            f"{folder} holds {method} weights, and reading them needs {' and '.join(missing)}: pip install {needed}; "
            "or take the model in 16 bits"
        )


def check_unused(folder: Path, config: Any, names: Iterable[str]) -> None:
    """Raise UnsupportedModel where the model left tensors of its files alone that would have changed what it says."""
    if left := sorted(name for name in names if not _is_spare(name, config)):
        more = f" and {len(left) - _SHOWN} more" if len(left) > _SHOWN else ""
        raise UnsupportedModel(
            f"{folder} holds tensors that {config.model_type} does not use: {', '.join(left[:_SHOWN])}{more}; "
            "expected a model that uses all"
        )


def _is_spare(name: str, config: Any) -> bool:
    # DeepSeek and those after it count the layers that guess further tokens on behind the model's own
    text, layer = config.get_text_config(), re.search(r"(?:^|\.)layers\.(\d+)\.", name)
    first, more = getattr(text, "num_hidden_layers", None), getattr(text, "num_nextn_predict_layers", None)
    guesses = layer and first and more and first <= int(layer[1]) < first + more
    return bool(guesses or _SPARE.search(name))
