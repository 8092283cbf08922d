"""From a checkpoint's folder to a model that runs through transformers' own modules.

Nothing about an architecture is assumed: on loading, a few tokens go through every path (chunks, rollback, ragged
rows), and a path is used only if it gives the logits of the model's own full pass. A model that is not right over
static slots is taken to carry recurrent state, and keeps transformers' own cache per slot.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoModelForCausalLM
from transformers.utils import logging as hf_logging

from specdec.errors import CheckpointCorrupt, LoadError, NotEnoughMemory, UnsupportedModel, first_line
from specdec.models.base import Model, ModelInfo, ModelOptions
from specdec.models.graphs import Graphs
from specdec.models.transformers import probes
from specdec.models.transformers.graphs import CapturedModel
from specdec.models.transformers.model import TransformersModel
from specdec.models.transformers.recurrent import RecurrentModel, keys_values
from specdec.models.weights import formats
from specdec.models.weights.checkpoint import headers

_CODES = (torch.uint8, torch.int8, torch.int32, torch.float8_e4m3fn)
"""What numbers in few bits are held in."""


def load(
    folder: Path, config: Any, *, trust_remote_code: bool, spread: bool = False, **options: Unpack[ModelOptions]
) -> Model:
    """Any causal language model of transformers. `spread`: over all GPUs, layer by layer."""
    device = options["device"]
    model = _load_model(folder, config, options["dtype"], trust_remote_code, spread).eval().requires_grad_(False)
    model = model if spread else model.to(device)
    info = ModelInfo(
        **options,
        architecture=type(model).__name__,
        backend="transformers",
        vocab_size=0,
        parameters=0,
        weight_bytes=0,
        cache_bytes=0,
    )
    return over(model, info, capture=device.type == "cuda" and not spread)


@torch.inference_mode()
def over(model: Any, info: ModelInfo, *, capture: bool = False) -> Model:
    """The best way to run `model` that a probe finds exact."""
    _keep_frequencies(model, info.context)
    probe = probes.Probe(model, info)
    info = replace(_weighed(model, info), vocab_size=probe.truth.shape[-1])
    found = None
    if not getattr(model, "_is_stateful", False) and probe.count == probes.TOKENS:
        found = TransformersModel(model, info)
    if found is None or not probe.rolls_back(found):
        return _recurrent(model, info, probe)
    # below the smallest window all layers see the same, and one mask serves; a window too small to probe is left
    window = smallest_window(model.config) or found.limit
    within = min(found.limit, window)
    found.together_below = within if within >= probes.TOKENS else 0
    if info.slots == 1 or not probe.runs_together(found):
        found.together_below = 0
    found.info = replace(info, cache_bytes=found.cache.nbytes)
    if capture and "position_ids" in found.forward.accepted and window >= found.limit:
        captured = CapturedModel(found, Graphs())
        return captured if probe.replays(captured) else found
    return found


def _weighed(model: Any, info: ModelInfo) -> ModelInfo:
    """With what the weights are: a first pass may have made plain ones of those that were stored in few bits."""
    stored = formats.method_of(model.config)
    held = [*model.parameters(), *(model.buffers() if stored else ())]
    plain = f"{str(info.dtype).removeprefix('torch.')}, made from {stored}" if stored else ""
    return replace(
        info,
        parameters=sum(p.numel() for p in model.parameters()),
        weight_bytes=sum(t.nbytes for t in held),
        weight_format=stored if stored and any(t.dtype in _CODES for t in held) else plain,
    )


def _keep_frequencies(model: Any, context: int) -> None:
    """longrope has frequencies for long sequences and others for short ones, and transformers takes those of the
    longest row of a pass. What was kept of a sequence would be other keys than those of the sequence at once, so the
    longest that a slot holds decides for all."""
    for module in model.modules():
        kinds = getattr(module, "rope_type", None)
        if "longrope" in (kinds.values() if isinstance(kinds, dict) else (kinds,)):
            module.forward = partial(_as_if_last, module.forward, context - 1)


def _as_if_last(
    forward: Any, last: int, x: Tensor, position_ids: Tensor, *rest: Any, **more: Any
) -> tuple[Tensor, Tensor]:
    """cos and sin [B, M, D] of positions [B, M], as in a pass that ends at the `last` one."""
    cos, sin = forward(x, F.pad(position_ids.clamp(max=last), (0, 1), value=last), *rest, **more)
    return cos[:, :-1], sin[:, :-1]


def _recurrent(model: Any, info: ModelInfo, probe: probes.Probe) -> RecurrentModel:
    for chunks in (True, False):
        found = RecurrentModel(model, info, chunks=chunks)
        if probe.carries_on(found):
            held = found.snapshot(0, probe.count)
            growing = sum(part.nbytes for part in keys_values(held.state))
            each = held.nbytes - growing + growing * info.context // held.length
            return RecurrentModel(model, replace(info, cache_bytes=info.slots * each), chunks=chunks)
    expected = f" in {info.weight_format}; expected the model in 16 bits" if info.weight_format else ""
    raise UnsupportedModel(f"{info.architecture}: its passes with a cache do not give its own logits{expected}")


def smallest_window(config: Any) -> int | None:
    """The fewest positions that some layer attends to; None when all attend to all."""
    text = config.get_text_config()
    windows = [getattr(text, key, None) for key in ("sliding_window", "attention_chunk_size", "window_size")]
    return min((w for w in windows if isinstance(w, int) and w > 0), default=None)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' progress bars and reports: what matters of them becomes an error."""
    shown, verbosity = hf_logging.is_progress_bar_enabled(), hf_logging.get_verbosity()
    hf_logging.disable_progress_bar()
    hf_logging.set_verbosity_error()
    try:
        yield
    finally:
        hf_logging.set_verbosity(verbosity)
        if shown:
            hf_logging.enable_progress_bar()


def _load_model(folder: Path, config: Any, dtype: torch.dtype, trust_remote_code: bool, spread: bool) -> Any:
    """transformers' model, or the reason why not."""
    headers(folder)  # says by name what is missing or damaged
    options: dict[str, Any] = {"config": config, "dtype": dtype, "trust_remote_code": trust_remote_code}
    if spread:
        options["device_map"] = "auto"
    try:
        with _quiet():
            model, report = AutoModelForCausalLM.from_pretrained(
                folder, local_files_only=True, output_loading_info=True, **options
            )
    except (*probes.FAILURES, OSError) as error:
        raise _refusal(folder, config, error) from error
    if missing := sorted(report["missing_keys"]):
        raise CheckpointCorrupt(f"{folder} lacks the tensor {missing[0]} (and {len(missing) - 1} more)")
    if odd := sorted(str(key) for key in report["mismatched_keys"]):
        raise CheckpointCorrupt(f"{folder}: the shape of {odd[0]} is not what its config says")
    formats.check_unused(folder, config, report["unexpected_keys"])
    if dtype == torch.float32 and formats.method_of(config) and not getattr(model, "is_quantized", False):
        return model.float()  # transformers made 16 bits of it, whatever was asked for
    return model


def _refusal(folder: Path, config: Any, error: BaseException) -> LoadError:
    if isinstance(error, torch.OutOfMemoryError):
        return NotEnoughMemory(f"{folder}: {first_line(error)}")
    if method := formats.method_of(config):
        return UnsupportedModel(
            f"{folder}: its {method} weights cannot be read here: {first_line(error).rstrip('.')}; "
            "expected the model in 16 bits"
        )
    if isinstance(error, OSError | RuntimeError):
        return CheckpointCorrupt(f"{folder}: {first_line(error)}")
    return UnsupportedModel(
        f"{folder}: {config.model_type} is no causal language model that can be loaded here: {first_line(error)}"
    )
