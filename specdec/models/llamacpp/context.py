"""llama.cpp, through the functions that llama-cpp-python binds: one model, and what it holds of several sequences."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from specdec.errors import CheckpointCorrupt, NotEnoughMemory, extra

PARTIAL = 1
"""LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY: of a sequence only what cannot be cut."""
BATCH = 512
"""Tokens that one call takes."""
_ROWS = 60
"""Tokens that it computes at once. From 64 on its attention goes by tiles, and sums otherwise: a prompt read anew would
lead to another text than one of which a part was kept."""
_ERROR = 4
"""llama.cpp's level of what it cannot go on with."""


class Run(NamedTuple):
    """Tokens of one sequence, side by side."""

    sequence: int
    start: int
    tokens: Sequence[int]


class LlamaContext:
    """One model over numbered sequences, each with memory of its own. Not thread-safe."""

    def __init__(self, path: Path, sequences: int, capacity: int) -> None:
        with extra("gguf", "llama.cpp"):
            import llama_cpp
        self._lib: Any = llama_cpp
        self.capacity = capacity
        lib = self._lib
        with _reasons(lib) as reasons:
            lib.llama_backend_init()
            options = lib.llama_model_default_params()
            options.n_gpu_layers = 0
            options.use_extra_bufts = not _has_amx()
            self._model = lib.llama_model_load_from_file(str(path).encode(), options)
            if not self._model:
                raise CheckpointCorrupt(f"{path} cannot be read by llama.cpp: {_first(reasons)}")
            shape = lib.llama_context_default_params()
            shape.n_ctx, shape.n_seq_max = sequences * capacity, sequences
            shape.n_batch, shape.n_ubatch = BATCH, _ROWS
            shape.kv_unified = False  # else each sequence passes over what the others hold
            shape.swa_full = True  # else what lies before a window is gone when tokens are taken back
            shape.flash_attn_type = lib.LLAMA_FLASH_ATTN_TYPE_AUTO  # a row beside others: the same bits, mostly
            shape.no_perf = True
            self._context = lib.llama_init_from_model(self._model, shape)
            if not self._context:
                lib.llama_model_free(self._model)
                raise NotEnoughMemory(
                    f"{path}: no memory for {sequences} slots of {capacity} tokens ({_first(reasons)}); "
                    "expected fewer slots or a smaller context"
                )
        self._memory = lib.llama_get_memory(self._context)
        self._batch = lib.llama_batch_init(BATCH, 0, 1)
        self._threads = 0
        weakref.finalize(self, _free, lib, self._batch, self._context, self._model)

    @cached_property
    def vocab_size(self) -> int:
        return int(self._lib.llama_vocab_n_tokens(self._lib.llama_model_get_vocab(self._model)))

    @property
    def parameters(self) -> int:
        return int(self._lib.llama_model_n_params(self._model))

    @property
    def weight_bytes(self) -> int:
        return int(self._lib.llama_model_size(self._model))

    @property
    def recurrent(self) -> bool:
        """Whether a sequence cannot simply be cut."""
        return bool(self._lib.llama_model_is_recurrent(self._model) or self._lib.llama_model_is_hybrid(self._model))

    @property
    def state_bytes(self) -> int:
        """What one sequence holds beside keys and values."""
        self.decode([Run(0, 0, [0])], 0)
        size = int(self._lib.llama_state_seq_get_size_ext(self._context, 0, PARTIAL))
        self.cut(0, 0)
        return size

    def cut(self, sequence: int, length: int) -> bool:
        """Forget all but the first `length` tokens; False where that cannot be done."""
        return bool(self._lib.llama_memory_seq_rm(self._memory, sequence, length, -1))

    def saved(self, sequence: int, flags: int = 0) -> np.ndarray:
        """What the sequence holds, as bytes; `flags`: 0, or PARTIAL."""
        size = self._lib.llama_state_seq_get_size_ext(self._context, sequence, flags)
        held = np.empty(size, np.uint8)
        self._lib.llama_state_seq_get_data_ext(self._context, _bytes(held), size, sequence, flags)
        return held

    def restore(self, sequence: int, held: np.ndarray, flags: int = 0) -> None:
        """Make this what the sequence holds."""
        if not self._lib.llama_state_seq_set_data_ext(self._context, _bytes(held), held.nbytes, sequence, flags):
            raise torch.OutOfMemoryError("llama.cpp has no room for what was saved of a sequence")

    def decode(self, runs: Sequence[Run], keep: int) -> Tensor:
        """The runs, which start where their sequences end. Logits [runs, keep, V] of the last tokens of each, all runs
        being of one length."""
        if (threads := torch.get_num_threads()) != self._threads:
            self._lib.llama_set_n_threads(self._context, threads, threads)
            self._threads = threads
        length = len(runs[0].tokens)
        entries = [
            (token, run.start + at, run.sequence, at >= length - keep)
            for run in runs
            for at, token in enumerate(run.tokens)
        ]
        parts = [self._decode(entries[at : at + BATCH]) for at in range(0, len(entries), BATCH)]
        logits = parts[0] if len(parts) == 1 else torch.cat(parts)
        return logits.view(len(runs), keep, self.vocab_size)

    def _decode(self, entries: Sequence[tuple[int, int, int, bool]]) -> Tensor:
        batch = self._batch
        batch.n_tokens = len(entries)
        for i, (token, position, sequence, wanted) in enumerate(entries):
            batch.token[i], batch.pos[i], batch.logits[i] = token, position, wanted
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, sequence
        if (status := self._lib.llama_decode(self._context, batch)) != 0:
            raise torch.OutOfMemoryError(f"llama.cpp could not compute a pass (status {status})")
        count = sum(entry[3] for entry in entries)
        if not count:
            return torch.empty((0, self.vocab_size))
        at = ctypes.addressof(self._lib.llama_get_logits(self._context).contents)
        held = (ctypes.c_float * (count * self.vocab_size)).from_address(at)
        return torch.frombuffer(held, dtype=torch.float32).view(count, -1).clone()


def _bytes(held: np.ndarray) -> Any:
    return held.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))


def _free(lib: Any, batch: Any, context: Any, model: Any) -> None:
    lib.llama_batch_free(batch)
    lib.llama_free(context)
    lib.llama_model_free(model)


def _has_amx() -> bool:
    """Whether this CPU says that it has Intel's tiles. llama.cpp would compute several rows with them and one without:
    their bits might differ. In some virtual machines they end the process."""
    try:
        return "amx_int8" in Path("/proc/cpuinfo").read_text("ascii", errors="replace")
    except OSError:
        return False


@contextmanager
def _reasons(lib: Any) -> Iterator[list[str]]:
    """The errors that llama.cpp writes meanwhile, which otherwise go to the screen."""
    lines: list[str] = []

    @lib.llama_log_callback  # type: ignore[untyped-decorator]
    def heard(level: int, text: bytes, _: Any) -> None:
        if level == _ERROR:
            lines.append(text.decode(errors="replace").strip())

    lib.llama_log_set(heard, None)
    try:
        yield lines
    finally:
        lib.llama_log_set(_SILENT.setdefault(id(lib), lib.llama_log_callback(lambda _level, _text, _: None)), None)


_SILENT: dict[int, Any] = {}
"""The callback has to outlive its use."""


def _first(reasons: Sequence[str]) -> str:
    return next((line for line in reasons if line), "it does not say why")
