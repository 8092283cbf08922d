"""Any decoder-only model that transformers can load.

Models with keys and values run over a static slot cache that stands in for transformers' own: it hands attention the
views it asks for, and lets transformers build masks and positions for a single row as it always does. Several
rows run together under an explicit causal mask where the model can, else one by one.

Nothing about an architecture is assumed: on loading, a few tokens go through every path (chunks, rollback, ragged
rows), and a path is used only if it gives the logits of the model's own full pass. A model that fails rollback, or
carries recurrent state, keeps transformers' own cache per slot, and cannot speculate.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM
from transformers.cache_utils import Cache, CacheLayerMixin
from transformers.utils import logging as hf_logging

from specdec.errors import CheckpointCorrupt, LoadError, NotEnoughMemory, UnsupportedModel, first_line
from specdec.runners import formats
from specdec.runners.base import Runner, RunnerInfo
from specdec.runners.checkpoint import headers, maximum_positions
from specdec.types import MAX_SPECULATIVE_TOKENS

if TYPE_CHECKING:
    from specdec.runners.hf_graphs import Places

PROBE_TOKENS = 8
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.1, torch.float16: 0.03}
"""Mean difference of logits, as a share of their spread, up to which two paths agree."""
FAILURES = (
    RuntimeError, ValueError, TypeError, AttributeError, IndexError, KeyError, AssertionError, ImportError,
)  # fmt: skip
"""What a model raises that cannot run some way."""
CACHE_NAMES = ("past_key_values", "cache_params", "state")


class SlotCache(Cache):  # type: ignore[misc]
    """Keys and values of all slots. `rows` says which slots the pass is for, and where each starts; in a graph, which
    cannot be told by numbers, `places` does."""

    def __init__(self, slots: int, capacity: int) -> None:
        super().__init__(layer_class_to_replicate=partial(SlotLayer, self))
        self.slots, self.capacity = slots, capacity
        self.rows: list[tuple[int, int]] = []
        self.places: Places | None = None

    @property
    def start(self) -> int:
        return 0 if self.places else max(start for _, start in self.rows)

    @property
    def nbytes(self) -> int:
        return sum(layer.keys.nbytes + layer.values.nbytes for layer in self.layers if layer.is_initialized)


class SlotLayer(CacheLayerMixin):  # type: ignore[misc]
    """One layer of it. Windowed layers keep everything too: masks do the windowing, and rollback stays free."""

    is_sliding = False

    def __init__(self, owner: SlotCache) -> None:
        super().__init__()
        self.owner = owner

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.keys, self.values = (
            x.new_zeros((self.owner.slots, x.shape[1], self.owner.capacity, x.shape[3]))
            for x in (key_states, value_states)
        )
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Write [B, heads, M, D] for the rows of this pass; give back all that they hold, [B, heads, T, D]."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        return self._held(self.keys, key_states), self._held(self.values, value_states)

    def _held(self, buffer: Tensor, new: Tensor) -> Tensor:
        if (places := self.owner.places) is not None:
            buffer[places.slots.unsqueeze(1), :, places.positions] = new.transpose(1, 2)
            return buffer.index_select(0, places.slots)
        rows, end = self.owner.rows, self.owner.start + new.shape[2]
        for row, (slot, start) in enumerate(rows):
            buffer[slot, :, start : start + new.shape[2]] = new[row]
        if len(rows) == 1:
            return buffer[rows[0][0] : rows[0][0] + 1, :, :end]
        return torch.stack([buffer[slot, :, :end] for slot, _ in rows])

    def get_seq_length(self) -> int:
        return self.owner.start

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.owner.capacity if self.owner.places else self.owner.start + query_length, 0

    def get_max_length(self) -> int:
        return self.owner.capacity


class HFRunner:
    """One model over slots (see `base.Runner`)."""

    def __init__(self, model: Any, info: RunnerInfo) -> None:
        self.model, self.info = model, info
        accepted = inspect.signature(model.forward).parameters
        self.keeps = "logits_to_keep" in accepted
        self.places = "position_ids" in accepted
        capacity = info.context + MAX_SPECULATIVE_TOKENS + 1
        self.limit = min(maximum_positions(model.config) or capacity, capacity)
        self.together_below = 0
        """Rows may run together while all end at or below this."""
        self.cache = SlotCache(info.slots + (info.device.type == "cuda"), capacity)  # one to fill up graphs

    def forward(self, tokens: Tensor, slots: Sequence[int], starts: Sequence[int], keep: int) -> Tensor:
        """See `base.Runner.forward`."""
        count = tokens.shape[1]
        if max(starts) + count > self.cache.capacity:
            raise ValueError(f"positions up to {max(starts) + count}; a slot holds {self.cache.capacity}")
        rows = list(zip(slots, starts, strict=True))
        if len(rows) > 1 and max(starts) + count <= self.together_below:
            return self._pass(tokens, rows, keep, **self._masks(starts, count))
        each = zip(torch.split(tokens, 1), rows, strict=True)
        return torch.cat([self._alone(token, row, keep) for token, row in each])

    def keys_values(self, slot: int, start: int, end: int) -> tuple[Tensor, ...]:
        """See `base.Runner.keys_values`."""
        buffers = (buffer for layer in self.cache.layers for buffer in (layer.keys, layer.values))
        return tuple(buffer[slot, :, start:end] for buffer in buffers)

    def _alone(self, tokens: Tensor, row: tuple[int, int], keep: int) -> Tensor:
        """A row by itself, [1, keep, V]. Beyond the model's last position there is only padding: it is not run."""
        count = tokens.shape[1]
        beyond = max(0, row[1] + count - self.limit)
        if beyond == 0:
            return self._pass(tokens, [row], keep)
        logits = torch.zeros((1, keep, self.info.vocab_size), device=tokens.device)
        if beyond < count:
            kept = max(0, keep - beyond)
            logits[:, :kept] = self._pass(tokens[:, : count - beyond], [row], kept)
        return logits

    def _pass(self, tokens: Tensor, rows: list[tuple[int, int]], keep: int, **extra: Tensor) -> Tensor:
        self.cache.rows = rows
        extra_options: dict[str, Any] = {"logits_to_keep": max(keep, 1)} if self.keeps else {}
        found = self.model(tokens, past_key_values=self.cache, use_cache=True, **extra, **extra_options)
        return _last(found.logits, keep)

    def _masks(self, starts: Sequence[int], count: int) -> dict[str, Tensor]:
        """Positions [B, M] and an additive causal mask [B, 1, M, T]."""
        device, dtype = self.info.device, self.info.dtype
        offsets = torch.tensor(list(starts)).unsqueeze(1)
        positions = offsets + torch.arange(count)
        hidden = torch.arange(max(starts) + count) > positions.unsqueeze(-1)
        mask = torch.zeros(hidden.shape, dtype=dtype).masked_fill_(hidden, torch.finfo(dtype).min)
        named = {"position_ids": positions.to(device)} if self.places else {}
        return {"attention_mask": mask.unsqueeze(1).to(device), **named}

    def probe_rollback(self, tokens: Tensor, truth: Tensor) -> bool:
        """Whether chunks, and other tokens after a rollback, give the full pass's logits."""
        half = tokens.shape[1] // 2
        self.forward(tokens[:, :half], [0], [0], 0)
        self.forward(tokens[:, : half - 1], [0], [half - 1], 1)
        found = self.forward(tokens[:, half - 1 :], [0], [half - 1], tokens.shape[1] - half + 1)
        return agree(found, truth[:, half - 1 :], self.info.dtype)

    def probe_together(self, tokens: Tensor, truth: Tensor) -> bool:
        """Whether two rows at different places, run together, do. Slot 0 holds all of `tokens`."""
        self.together_below = 0
        self.forward(tokens[:, :2], [1], [0], 0)
        # Below the smallest window all layers see the same, so one mask serves; a window too small to probe is left
        within = min(self.limit, smallest_window(self.model.config) or self.limit)
        self.together_below = within if within >= PROBE_TOKENS else 0
        pair = torch.cat((tokens[:, 2:5], tokens[:, 4:7]))
        found = self.forward(pair, [1, 0], [2, 4], 3)
        return agree(found, torch.cat((truth[:, 2:5], truth[:, 4:7])), self.info.dtype)


class RecurrentRunner:
    """A model whose state cannot be rolled back: transformers' own cache per slot, rows one by one."""

    def __init__(self, model: Any, info: RunnerInfo) -> None:
        self.model, self.info = model, replace(info, can_rollback=False)
        self.states: dict[int, Any] = {}
        self.held: dict[int, int] = {}
        accepted = inspect.signature(model.forward).parameters
        self.cache_name = next((name for name in CACHE_NAMES if name in accepted), CACHE_NAMES[0])
        self.chunks = True
        """Whether a state can be carried on by several tokens at once."""

    def forward(self, tokens: Tensor, slots: Sequence[int], starts: Sequence[int], keep: int) -> Tensor:
        """See `base.Runner.forward`."""
        each = zip(torch.split(tokens, 1), slots, starts, strict=True)
        return torch.cat([_last(self._row(token, slot, start), keep) for token, slot, start in each])

    def keys_values(self, slot: int, start: int, end: int) -> tuple[Tensor, ...]:  # noqa: ARG002
        """See `base.Runner.keys_values`."""
        return ()

    def _row(self, tokens: Tensor, slot: int, start: int) -> Tensor:
        if start == 0:
            self.states.pop(slot, None)
            self.held[slot] = 0
        if self.held.get(slot, 0) != start:
            raise ValueError(
                f"slot {slot} holds {self.held.get(slot, 0)} positions; expected start {start} or 0"
            )
        self.held[slot] = start + tokens.shape[1]
        if start == 0 or self.chunks:
            return self._step(tokens, slot)
        return torch.cat([self._step(token, slot) for token in torch.split(tokens, 1, 1)], 1)

    def _step(self, tokens: Tensor, slot: int) -> Tensor:
        state = {self.cache_name: self.states[slot]} if slot in self.states else {}
        found = self.model(tokens, use_cache=True, **state)
        self.states[slot] = getattr(found, self.cache_name)
        logits: Tensor = found.logits
        return logits

    def probe(self, tokens: Tensor, truth: Tensor) -> bool:
        """Whether carrying the state on gives the full pass's logits."""
        half = tokens.shape[1] // 2
        self.forward(tokens[:, :half], [0], [0], 0)
        found = self.forward(tokens[:, half:], [0], [half], tokens.shape[1] - half)
        self.states.clear()
        self.held.clear()
        return agree(found, truth[:, half:], self.info.dtype)


def _last(logits: Tensor, keep: int) -> Tensor:
    """The last `keep` positions, in fp32."""
    return logits[:, logits.shape[1] - keep :].float()


def agree(found: Tensor, truth: Tensor, dtype: torch.dtype) -> bool:
    """Whether two passes computed the same function."""
    return bool((found - truth).abs().mean() <= TOLERANCE[dtype] * truth.std())


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


def load(
    folder: Path, config: Any, *, name: str, device: torch.device, dtype: torch.dtype, context: int, slots: int,
    trust_remote_code: bool, spread: bool = False,
) -> Runner:  # fmt: skip
    """A runner for any causal language model of transformers. `spread`: over all GPUs, layer by layer."""
    model = _load_model(folder, config, dtype, trust_remote_code, spread).eval().requires_grad_(False)
    model = model if spread else model.to(device)
    info = RunnerInfo(
        name=name, architecture=type(model).__name__, kind="hf", mode="eager", vocab_size=0, context=context,
        slots=slots, device=device, dtype=dtype, parameters=sum(p.numel() for p in model.parameters()),
        weight_bytes=sum(p.nbytes for p in model.parameters()), cache_bytes=0, can_rollback=True,
    )  # fmt: skip
    return over(model, info, capture=device.type == "cuda" and not spread)


@torch.inference_mode()
def over(model: Any, info: RunnerInfo, *, capture: bool = False) -> Runner:
    """The best runner over `model` that a probe finds exact."""
    count = min(PROBE_TOKENS, info.context)
    vocab = int(model.config.get_text_config().vocab_size)
    tokens = torch.arange(3, 3 + count, device=info.device).remainder(vocab).unsqueeze(0)
    truth = _truth(model, info, tokens)
    info = replace(info, vocab_size=truth.shape[-1])
    if not getattr(model, "_is_stateful", False) and count == PROBE_TOKENS:
        runner = HFRunner(model, info)
        if _works(runner.probe_rollback, tokens, truth):
            if info.slots == 1 or not _works(runner.probe_together, tokens, truth):
                runner.together_below = 0
            runner.info = replace(info, cache_bytes=runner.cache.nbytes)
            if capture:
                from specdec.runners.hf_graphs import with_graphs

                return with_graphs(runner, tokens, truth)
            return runner
    return _recurrent(model, info, tokens, truth)


def _truth(model: Any, info: RunnerInfo, tokens: Tensor) -> Tensor:
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


def _recurrent(model: Any, info: RunnerInfo, tokens: Tensor, truth: Tensor) -> RecurrentRunner:
    runner = RecurrentRunner(model, info)
    if _works(runner.probe, tokens, truth):
        return runner
    runner.chunks = False
    if _works(runner.probe, tokens, truth):
        return runner
    raise UnsupportedModel(f"{info.architecture}: its passes with a cache do not give its own logits")


def _works(probe: Callable[[Tensor, Tensor], bool], tokens: Tensor, truth: Tensor) -> bool:
    try:
        return probe(tokens, truth)
    except FAILURES:
        return False
