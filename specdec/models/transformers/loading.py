"""From a checkpoint's folder to a model that runs through transformers' own modules.

Nothing about an architecture is assumed: on loading, a few tokens go through every path (chunks, rollback, ragged
rows), and a path is used only if it gives the logits of the model's own full pass. A model that is not right over
static slots is taken to carry recurrent state, and keeps transformers' own cache per slot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM
from transformers.utils import logging as hf_logging

from specdec.errors import CheckpointCorrupt, LoadError, NotEnoughMemory, UnsupportedModel, first_line
from specdec.models.base import Batch, Model, ModelInfo
from specdec.models.graphs import Graphs
from specdec.models.transformers.graphs import CapturedModel
from specdec.models.transformers.model import TransformersModel
from specdec.models.transformers.recurrent import RecurrentModel
from specdec.models.weights import formats
from specdec.models.weights.checkpoint import headers

PROBE_TOKENS = 8
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.1, torch.float16: 0.03}
"""Mean difference of logits, as a share of their spread, up to which two paths agree."""
FAILURES = (
    RuntimeError,
    ValueError,
    TypeError,
    AttributeError,
    IndexError,
    KeyError,
    AssertionError,
    ImportError,
)
"""What a model raises that cannot run some way."""


def load(
    folder: Path,
    config: Any,
    *,
    name: str,
    device: torch.device,
    dtype: torch.dtype,
    context: int,
    slots: int,
    trust_remote_code: bool,
    spread: bool = False,
) -> Model:
    """Any causal language model of transformers. `spread`: over all GPUs, layer by layer."""
    model = _load_model(folder, config, dtype, trust_remote_code, spread).eval().requires_grad_(False)
    model = model if spread else model.to(device)
    info = ModelInfo(
        name=name,
        architecture=type(model).__name__,
        backend="transformers",
        vocab_size=0,
        context=context,
        slots=slots,
        device=device,
        dtype=dtype,
        parameters=sum(p.numel() for p in model.parameters()),
        weight_bytes=sum(p.nbytes for p in model.parameters()),
        cache_bytes=0,
    )
    return over(model, info, capture=device.type == "cuda" and not spread)


@torch.inference_mode()
def over(model: Any, info: ModelInfo, *, capture: bool = False) -> Model:
    """The best way to run `model` that a probe finds exact."""
    count = min(PROBE_TOKENS, info.context)
    vocab = int(model.config.get_text_config().vocab_size)
    tokens = torch.arange(3, 3 + count, device=info.device).remainder(vocab).unsqueeze(0)
    truth = _truth(model, info, tokens)
    info = replace(info, vocab_size=truth.shape[-1])
    if not getattr(model, "_is_stateful", False) and count == PROBE_TOKENS:
        found = TransformersModel(model, info)
        if _works(_rolls_back, found, tokens, truth):
            _choose_together(found, tokens, truth)
            found.info = replace(info, cache_bytes=found.cache.nbytes)
            return _captured(found, tokens, truth) if capture else found
    return _recurrent(model, info, tokens, truth)


def _truth(model: Any, info: ModelInfo, tokens: Tensor) -> Tensor:
    """The logits [1, M, V] of the model's own pass, without a cache."""
    try:
        truth: Tensor = model(tokens, use_cache=False).logits.float()
    except torch.OutOfMemoryError:
        raise
    except FAILURES as error:
        raise UnsupportedModel(
            f"{info.name}: transformers' {info.architecture} fails at its first pass: {first_line(error)}"
        ) from error
    if not bool(truth.amax(-1).isfinite().all()):
        raise CheckpointCorrupt(
            f"{info.name}: the logits of a first pass in {info.dtype} are NaN or infinite; expected weights without "
            "NaN, and a dtype that is wide enough for them"
        )
    return truth


def _captured(model: TransformersModel, tokens: Tensor, truth: Tensor) -> Model:
    """The same model with graphs, if it bears them."""
    window = smallest_window(model.model.config)
    if "position_ids" not in model.forward.accepted or (window is not None and window < model.limit):
        return model
    captured = CapturedModel(model, Graphs())
    return captured if _works(_replays, captured, tokens, truth) else model


def _recurrent(model: Any, info: ModelInfo, tokens: Tensor, truth: Tensor) -> RecurrentModel:
    for chunks in (True, False):
        found = RecurrentModel(model, info)
        found.chunks = chunks
        if _works(_carries_on, found, tokens, truth):
            held = info.slots * found.snapshot(0, tokens.shape[1]).nbytes
            clean = RecurrentModel(model, replace(info, cache_bytes=held))
            clean.chunks = chunks
            return clean
    raise UnsupportedModel(f"{info.architecture}: its passes with a cache do not give its own logits")


# ---- probes: tokens [1, M], and the logits [1, M, V] of the model's own full pass over them


Probe = Callable[[Any, Tensor, Tensor], bool]


def _works(probe: Probe, model: Model, tokens: Tensor, truth: Tensor) -> bool:
    try:
        return probe(model, tokens, truth)
    except FAILURES:
        return False


def agree(found: Tensor, truth: Tensor, dtype: torch.dtype) -> bool:
    """Whether two passes computed the same function."""
    return bool((found - truth).abs().mean() <= TOLERANCE[dtype] * truth.std())


def _rolls_back(model: Model, tokens: Tensor, truth: Tensor) -> bool:
    """Whether chunks, and other tokens after a rollback, give the full pass's logits."""
    half = tokens.shape[1] // 2
    model.run(Batch(tokens[:, :half], [0], [0], 0))
    model.run(Batch(tokens[:, : half - 1], [0], [half - 1], 1))
    rest = tokens[:, half - 1 :]
    found = model.run(Batch(rest, [0], [half - 1], rest.shape[1])).logits
    return agree(found, truth[:, half - 1 :], model.info.dtype)


def _carries_on(model: Model, tokens: Tensor, truth: Tensor) -> bool:
    """Whether a state that was carried on, and one that went back to a token in the middle of a pass, do."""
    half = tokens.shape[1] // 2
    held = tokens[0].tolist()
    model.state.begin(0, held)
    model.run(Batch(tokens[:, :half], [0], [0], 0))
    model.run(Batch(tokens[:, half:], [0], [half], 1))
    rest = tokens[:, half + 1 :]
    found = model.run(Batch(rest, [0], [half + 1], rest.shape[1])).logits
    return agree(found, truth[:, half + 1 :], model.info.dtype)


def _choose_together(model: TransformersModel, tokens: Tensor, truth: Tensor) -> None:
    """Let rows run together below the smallest window, where all layers see the same and one mask serves; a window too
    small to probe is left."""
    smallest = smallest_window(model.model.config) or model.limit
    within = min(model.limit, smallest)
    model.together_below = within if within >= PROBE_TOKENS else 0
    if model.info.slots == 1 or not _works(_runs_together, model, tokens, truth):
        model.together_below = 0


def _runs_together(model: Model, tokens: Tensor, truth: Tensor) -> bool:
    """Whether two rows at different places, run together, do. Slot 0 holds all of `tokens`."""
    model.run(Batch(tokens[:, :2], [1], [0], 0))
    pair = torch.cat((tokens[:, 2:5], tokens[:, 4:7]))
    found = model.run(Batch(pair, [1, 0], [2, 4], 3)).logits
    return agree(found, torch.cat((truth[:, 2:5], truth[:, 4:7])), model.info.dtype)


def _replays(model: Model, tokens: Tensor, truth: Tensor) -> bool:
    """Whether captured passes, and replayed ones, do."""
    found = []
    for _ in range(2):  # captured, then replayed
        model.run(Batch(tokens[:, :2], [0], [0], 0))
        found.append(model.run(Batch(tokens[:, 2:], [0], [2], tokens.shape[1] - 2)).logits)
    return all(agree(logits, truth[:, 2:], model.info.dtype) for logits in found)


def smallest_window(config: Any) -> int | None:
    """The fewest positions that some layer attends to; None when all attend to all."""
    text = config.get_text_config()
    windows = [getattr(text, key, None) for key in ("sliding_window", "attention_chunk_size", "window_size")]
    return min((w for w in windows if isinstance(w, int) and w > 0), default=None)


# ---- transformers' model


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
    try:
        with _quiet():
            model, report = AutoModelForCausalLM.from_pretrained(
                folder, config=config, dtype=dtype, trust_remote_code=trust_remote_code,
                local_files_only=True, output_loading_info=True, **({"device_map": "auto"} if spread else {}),
            )  # fmt: skip
    except (*FAILURES, OSError) as error:
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
