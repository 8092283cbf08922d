"""From a checkpoint's folder to a model over slots: device, precision, context, and what runs it fastest."""

from __future__ import annotations

import math
import warnings
from contextlib import closing
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from itertools import product
from pathlib import Path
from typing import Any, Unpack, get_args

import torch

from specdec.errors import (
    DeviceUnavailable,
    InvalidRequest,
    NotEnoughMemory,
    UnsupportedModel,
)
from specdec.gguf import is_gguf, open_gguf
from specdec.models import families, memory
from specdec.models.base import Model, ModelOptions, kept_in
from specdec.models.eager import model as eager
from specdec.models.families.base import ModelFamily
from specdec.models.weights import formats
from specdec.models.weights.checkpoint import Safetensors, maximum_positions
from specdec.models.weights.gguf import GgufTensors, rope_factors
from specdec.models.weights.layers import Quantization
from specdec.models.weights.sources import open_tensors, positions, read_config
from specdec.types.load import KvDtype, Quantize

DEFAULT_CONTEXT = 8192
_LEAST = 1024
"""Positions without which a model is of little use."""
DTYPES = {
    "float32": torch.float32,
    "fp32": torch.float32,
    "float16": torch.float16,
    "fp16": torch.float16,
    "bfloat16": torch.bfloat16,
    "bf16": torch.bfloat16,
}
SPREAD = "cuda:all"
"""The device that is all GPUs of this machine, layers spread over them."""
OLDEST = (8, 0)
"""Compute capability from which GPUs have bf16 tensor cores."""
OLDEST_FP8 = (8, 9)
"""From which they convert fp8."""


def load_model(
    path: str | Path,
    *,
    name: str | None = None,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    context: int | None = None,
    slots: int = 1,
    trust_remote_code: bool = False,
    quantize: Quantize | None = None,
    quantize_head: bool = False,
    kv_dtype: KvDtype = "auto",
    most: int | None = None,
    beside: Path | None = None,
    reserved: int = 0,
    share: float = 1.0,
) -> Model:
    """The fastest model that computes the checkpoint in `path` exactly: a folder, or a GGUF file.

    `device`: auto, cpu, cuda, cuda:1, ..., or cuda:all for a model that is too large for one GPU. `dtype`: auto,
    float32, bfloat16, float16; of a GGUF file on a CPU auto is what it is stored in, through llama.cpp. `context`:
    positions per slot; None for the model's own, up to `most`, to DEFAULT_CONTEXT where each slot has memory of its
    own, and to what memory holds. `beside`: another model that memory is left for; `reserved`: bytes for anything else;
    `share`: of the memory left for keys and values, which a `context` that is given may exceed. `quantize`: what
    weights in 16 bits are rounded to; `quantize_head`: the head as well, to 8 bits. `kv_dtype`: what keys and values
    are kept in; fp8 is for kernels alone. Raises NotEnoughMemory before anything is read.
    """
    folder, spread = Path(path), device == SPREAD
    where = pick_device("cuda" if spread else device)
    slots, name = _at_least_one("slots", slots), name or str(path)
    if is_gguf(folder) and quantize is not None:
        raise InvalidRequest("quantize", quantize, f"none for {folder}, whose weights are quantised already")
    if kv_dtype == "auto" and _by_llamacpp(folder, where, dtype):
        from specdec.models.llamacpp import loading as llamacpp

        if quantize_head:
            raise InvalidRequest("quantize_head", True, f"False for {folder}, which llama.cpp runs as it is")
        known = positions(folder)
        picked = pick_context(context, known, most)
        return llamacpp.load(folder, name=name, context=picked, slots=slots, known=known, less=context is None)
    config = _readable_config(folder, trust_remote_code=trust_remote_code)
    family, asked = _described(folder, config), Quantization(to=quantize, head=quantize_head)
    known = maximum_positions(config)
    own = pick_context(context, known, most)  # where each slot has memory of its own
    precision = pick_dtype(dtype, where, folder, config)
    options = ModelOptions(name=name, device=where, dtype=precision, context=own, slots=slots, kv_dtype=kv_dtype)
    options["known"] = known
    neighbour = None
    if beside is not None and (where.type == "cuda" or not is_gguf(beside)):  # else llama.cpp may run it, any model
        neighbour = beside, read_config(beside, trust_remote_code=trust_remote_code)
    if where.type == "cuda":
        # cuDNN's attention plans anew, for tens of milliseconds, at every new number of keys: each round of decoding
        torch.backends.cuda.enable_cudnn_sdp(False)
        whole = None if family is None or spread else pick_context(context, known, most, paged=True)
        spread = _fit(folder, config, options, whole, context or _LEAST, asked, spread=spread)
    else:
        asked = _fit_host(folder, config, options, asked, context, neighbour)
    _check(folder, config, asked, options, by_transformers=family is None or spread)
    if family is None or spread:
        from specdec.models.transformers import loading

        return loading.load(folder, config, trust_remote_code=trust_remote_code, spread=spread, **options)
    model = _read(folder, config, family, asked, **options)
    if where.type != "cuda":
        return model
    left = memory.pool_bytes(config, where, precision, neighbour, quantize) - reserved
    found = with_kernels(model, left, kv_dtype, share=share, sure=0 if context is None else slots)
    if found is model:  # without pages
        options["context"] = own
        return eager.over(model.weights, family, model.info.weight_format, **options)
    if context is not None and found.info.context < context:
        raise NotEnoughMemory(f"context is {context}; expected at most {found.info.context}, {found.info.longer}")
    return found


def _readable_config(path: Path, *, trust_remote_code: bool) -> Any:
    """A checkpoint's config, if its weights are in a form that is read."""
    config = read_config(path, trust_remote_code=trust_remote_code)
    if not is_gguf(path):
        formats.check(path, config)
    return config


def _by_llamacpp(path: Path, device: torch.device, dtype: str | torch.dtype) -> bool:
    """Whether llama.cpp runs a checkpoint."""
    if not is_gguf(path) or device.type != "cpu" or dtype != "auto":
        return False
    from specdec.models.llamacpp import loading

    return loading.can_run(path)


def _fit(
    folder: Path,
    config: Any,
    options: ModelOptions,
    paged: int | None,
    least: int,
    asked: Quantization,
    *,
    spread: bool,
) -> bool:
    """Whether it takes all GPUs to hold the model. The context becomes `paged` where slots can share memory in pages,
    and that has room for `least` positions. Raises NotEnoughMemory."""
    check = partial(memory.check, folder, config, asked.to, head=asked.head)
    if paged is not None:
        alone = ModelOptions(**{**options, "slots": 1, "context": min(paged, least)})
        if not check(spread=False, **alone):
            options["context"] = paged
            return False
    return check(spread=spread, **options) or spread


def _fit_host(
    folder: Path,
    config: Any,
    options: ModelOptions,
    asked: Quantization,
    context: int | None,
    beside: memory.Neighbour | None,
) -> Quantization:
    """How weights are had in the machine's own memory: in few bits where it does not hold them plain. The context
    becomes what memory holds, with a model `beside`, where nobody asked for one. Raises NotEnoughMemory."""
    free = memory.room(options["device"])
    least = ModelOptions(**{**options, "context": context or min(options["context"], _LEAST)})
    judge = partial(memory.refusal, folder, config, asked.to, free, head=asked.head, **least)
    no_room = judge()
    if no_room is not None and (refused := judge(plain=False)) is not None:
        raise refused
    if context is None:
        both = [memory.needs(folder, config, asked.to, head=asked.head, plain=no_room is None, **options)]
        both += [] if beside is None else [memory.needs(*beside, **options)]
        left = free - sum(one.weights for one in both)
        held = left * options["context"] / max(sum(one.cache for one in both), 1)
        fits = int(max(min(options["context"], held), least["context"]))
        options["shortened"], options["context"] = fits < options["context"], fits
    return replace(asked, no_room=no_room)


def _read(
    path: Path, config: Any, family: ModelFamily, asked: Quantization, **options: Unpack[ModelOptions]
) -> eager.EagerModel:
    """A model of a described family, in torch."""
    method = formats.reader_of(config)
    file = open_gguf(path).format if is_gguf(path) else None
    stored = asked.to or file or (formats.method_of(config) if method else None)
    remark = f", made from {stored}" if stored and options["device"].type != "cuda" else ""
    if formats.activations(config):
        remark += f"; activations stay in {str(options['dtype']).removeprefix('torch.')}"
    asked = replace(asked, remark=remark)
    with closing(open_tensors(path)) as weights:
        if method is not None and isinstance(weights, Safetensors):
            asked = replace(asked, stored=partial(method, weights))
        if isinstance(weights, GgufTensors):
            asked = replace(asked, stored=weights.packed)
        model = eager.load(weights, family, asked, **options)
        formats.check_unused(path, config, weights.unused())
    return model


def foretold(
    path: Path,
    *,
    device: str | torch.device = "auto",
    dtype: str = "auto",
    context: int | None = None,
    slots: int = 1,
    trust_remote_code: bool = False,
    quantize_head: bool = False,
) -> dict[str, memory.Needs]:
    """What a checkpoint would take on a device, by what its weights are in; nothing is loaded. One that is a
    torch.device need not be here."""
    where = device if isinstance(device, torch.device) else pick_device(device)
    slots = _at_least_one("slots", slots)
    if _by_llamacpp(path, where, dtype):
        from specdec.models.llamacpp import loading as llamacpp

        picked = pick_context(context, positions(path))
        return {open_gguf(path).format: llamacpp.needs(path, context=picked, slots=slots, less=context is None)}
    config = _readable_config(path, trust_remote_code=trust_remote_code)
    paged = where.type == "cuda" and _described(path, config) is not None
    options = ModelOptions(
        name=str(path),
        device=where,
        dtype=pick_dtype(dtype, where, path, config),
        context=pick_context(context, maximum_positions(config), paged=paged),
        slots=slots,
    )
    plain = str(options["dtype"]).removeprefix("torch.")
    stored = open_gguf(path).format if is_gguf(path) and where.type == "cuda" else formats.method_of(config)
    kinds: list[tuple[str, Quantize | None]] = [(stored or plain, None)]
    rounds = memory.can_round(path, config)
    if where.type != "cuda":
        found = {kinds[0][0]: memory.needs(path, config, **options)}
        few: list[Quantize] = ["int4", "int8"] if rounds else []
        kept_so = partial(memory.needs, path, config, head=quantize_head, plain=False, **options)
        return found | {f"{to}, where it is kept so": kept_so(to) for to in few}
    kinds += [(to, to) for to in get_args(Quantize)] if rounds else []
    kept: list[tuple[str, KvDtype]] = [("", "auto")]
    kept += [(", kv fp8", "fp8")] if paged else []
    found = {}
    for (name, to), (remark, kv_dtype) in product(kinds, kept):
        options["kv_dtype"] = kv_dtype
        found[name + remark] = memory.needs(path, config, to, head=quantize_head and to is not None, **options)
    return found


def described(path: Path, *, trust_remote_code: bool = False) -> bool:
    """Whether a checkpoint is of a family that kernels run."""
    return families.describe(read_config(path, trust_remote_code=trust_remote_code)) is not None


def can_round(path: Path, *, trust_remote_code: bool = False) -> bool:
    """Whether a checkpoint's weights are plain ones, of a family that keeps them in few bits."""
    return not is_gguf(path) and memory.can_round(path, read_config(path, trust_remote_code=trust_remote_code))


def _check(path: Path, config: Any, asked: Quantization, options: ModelOptions, *, by_transformers: bool) -> None:
    """Refuse what the program that runs the model, or its device, cannot do."""
    if asked.head and by_transformers:
        raise InvalidRequest("quantize_head", asked.head, f"False for {path}, which transformers runs")
    if asked.to and formats.method_of(config) is not None:
        raise InvalidRequest("quantize", asked.to, f"none for {path}, whose weights are quantised already")
    if asked.to and by_transformers:
        raise InvalidRequest("quantize", asked.to, f"none for {path}, which transformers runs")
    if is_gguf(path) and by_transformers:
        raise UnsupportedModel(f"{path} cannot be spread over GPUs; expected the model's own folder, or one GPU")
    kv_dtype, device = options["kv_dtype"], options["device"]
    if kv_dtype == "auto":
        return
    if device.type != "cuda":
        raise InvalidRequest("kv_dtype", kv_dtype, f"auto on a {device.type}: only NVIDIA GPUs keep keys in 8 bits")
    if by_transformers:
        raise InvalidRequest("kv_dtype", kv_dtype, f"auto for {path}, which transformers runs")
    capability = torch.cuda.get_device_capability(device)
    if capability < OLDEST_FP8:
        raise InvalidRequest("kv_dtype", kv_dtype, f"auto on a GPU of compute capability {capability}")


def _described(path: Path, config: Any) -> ModelFamily | None:
    """The family, where the checkpoint is of one that is described and its weights are in a form that is read."""
    family = families.describe(config) if formats.method_of(config) is None or formats.reader_of(config) else None
    if not is_gguf(path):
        return family
    if family is None:
        raise UnsupportedModel(f"{path} holds a model that only llama.cpp runs; expected device='cpu' for it")
    if (factors := rope_factors(path)) is not None:
        inverse, factor = family.rope
        return replace(family, rope=(inverse / factors, factor))
    return family


def with_kernels(
    model: eager.EagerModel,
    pool_bytes: float = math.inf,
    kv_dtype: KvDtype = "auto",
    *,
    share: float = 1.0,
    sure: int = 0,
) -> Model:
    """The same model with kernels and graphs for decoding, and its slots' memory in pages, as many as they can take and
    once more for what they leave behind, in a `share` of `pool_bytes` at most, or in all where `sure` slots need that;
    itself, and a warning, where they cannot run."""
    if (reason := _no_kernels(model)) and kv_dtype != "auto":
        raise InvalidRequest("kv_dtype", kv_dtype, f"auto for {model.info.name}, which runs without kernels: {reason}")
    if reason:
        message = f"decoding {model.info.name} without kernels and graphs, so more slowly: {reason}"
        warnings.warn(message, RuntimeWarning, stacklevel=2)
        return model
    from specdec.models.graphs import Graphs
    from specdec.models.triton.model import TritonModel
    from specdec.models.triton.pages import page_bytes, pages_of

    each = pages_of(model.cache.capacity)
    held = pool_bytes // page_bytes(model.family, kept_in(kv_dtype, model.info.dtype))
    pages = max(held * share, min(held, sure * each), 1)
    return TritonModel(model, Graphs(), int(min(2 * model.info.slots * each, pages)), kv_dtype=kv_dtype)


def _no_kernels(model: eager.EagerModel) -> str | None:
    if find_spec("triton") is None:
        return "Triton is not installed"
    capability = torch.cuda.get_device_capability(model.info.device)
    if capability < OLDEST:
        return f"this GPU's compute capability is {capability}; expected {OLDEST} or newer"
    from specdec.models.triton import decoder

    reason = decoder.unsupported(model)
    return reason and f"the kernels do not do {reason}"


def pick_device(device: str | torch.device) -> torch.device:
    """The device asked for, checked; auto takes a GPU if there is one."""
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "auto":
        return torch.device("cuda", 0) if count else torch.device("cpu")
    try:
        wanted = torch.device(device)
    except RuntimeError as error:
        raise DeviceUnavailable(f"device is {device!r}; expected auto, cpu, cuda or cuda:N") from error
    if wanted.type == "cuda":
        if not count:
            raise DeviceUnavailable(f"device is {str(wanted)!r}, but torch finds no GPU here; expected auto or cpu")
        wanted = torch.device("cuda", wanted.index or 0)
        if wanted.index >= count:
            raise DeviceUnavailable(
                f"device is {str(wanted)!r}, but there are {count} GPUs; expected below cuda:{count}"
            )
    if wanted.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceUnavailable("device is 'mps', but torch finds none here; expected auto or cpu")
    return wanted


def pick_dtype(dtype: str | torch.dtype, device: torch.device, folder: Path, config: Any) -> torch.dtype:
    """The precision to compute in. auto: fp32 on CPUs (16 bit is slower there), else the checkpoint's 16-bit type."""
    if isinstance(dtype, torch.dtype) and dtype in DTYPES.values():
        return dtype
    if dtype != "auto":
        if dtype not in DTYPES:
            raise InvalidRequest("dtype", dtype, "auto, float32, bfloat16 or float16")
        return DTYPES[str(dtype)]
    if device.type == "cpu":
        return torch.float32
    stored = getattr(config, "dtype", None) or Safetensors(folder).dtype
    stored = DTYPES.get(stored, torch.float32) if isinstance(stored, str) else stored
    return stored if stored in (torch.float16, torch.bfloat16) else torch.bfloat16


def pick_context(context: int | None, known: int | None, most: int | None = None, *, paged: bool = False) -> int:
    """Positions per slot; `known`: for how many the model was made. See `load_model`."""
    if context is None:
        own = known or most or DEFAULT_CONTEXT
        return min(own, most or (own if paged else DEFAULT_CONTEXT))
    _at_least_one("context", context)
    if known is not None and context > known:
        raise InvalidRequest("context", context, f"at most {known}, the model's maximum")
    return context


def _at_least_one(field: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidRequest(field, value, "a whole number, 1 or more")
    return value
