"""Compiles the kernels of a pass and of a round for Hopper, without a GPU: a launch compiles and does nothing else.

    python -m tests.kernels.hopper KIND    # one of the tiny models of tests/models/models.py
    python -m tests.kernels.hopper packed  # products with weights in few bits alone

Triton's interpreter takes code that its compiler refuses. Prints a line for each kernel: its name, and how often its
code multiplies matrices and adds numbers. The last one is a product of many rows in two shares of one step.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any, get_args

os.environ.pop("TRITON_INTERPRET", None)

import torch
from triton.backends.compiler import GPUTarget
from triton.runtime import JITFunction, driver

from specdec.decoding.rounds.choosing import Shaping
from specdec.decoding.rounds.device import DeviceRounds
from specdec.decoding.rounds.kinds import HOST, RoundKind
from specdec.decoding.speculation.controller import Controller
from specdec.kernels import attention, products, prompt_products
from specdec.kernels.heads import HeadSlots
from specdec.kernels.tiles import Tile
from specdec.types.load import KvDtype
from tests.kernels.test_packed import CASES, random
from tests.kernels.test_runner import load, saved

_WIDTHS = (1, 17, 33, 64, 200)
_SHAPINGS = (Shaping(), Shaping(drawn=True), Shaping(drawn=True, limited=True))


class _Hopper:
    """Stands for the driver of a GPU that is not there."""

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", 90, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return device


_run = JITFunction.run


def _compile(self: JITFunction[Any], *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> Any:
    kernel = _run(self, *args, grid=grid, warmup=True, **kwargs)
    code = kernel.asm["ttir"]
    adds = code.count("arith.addf") + code.count("math.fma")
    sys.stdout.write(f"{self.fn.__module__}.{self.__name__} {code.count('tt.dot ')} {adds}\n")
    return kernel


def _prepare() -> None:
    driver.set_active(_Hopper())
    JITFunction.run = _compile
    torch.empty = torch.zeros  # type: ignore[assignment]  # what no kernel fills must still be tokens
    for module in (attention, products):
        module.dependent_launch = lambda _: True  # type: ignore[attr-defined]
    prompt_products.exact = lambda *_: True


def packed() -> None:
    """Of each form of packed weights what its numbers are made with: few rows, and many."""
    x, norm = torch.zeros(130, 256, dtype=torch.bfloat16), torch.zeros(256, dtype=torch.bfloat16)
    scratch = products.Scratch.on(torch.device("cpu"), 1 << 16, 64)
    for kind, _, group, precision, shift in CASES:
        weight = random(torch.device("cpu"), 128, kind, 256, group if 256 % group == 0 else 256, precision, shift)
        tile = Tile(64, weight.unit)
        products.product(x[:3], weight, torch.zeros(3, 64), tile, scratch, norm=norm, gated=True)
        prompt_products.product(x, weight, torch.zeros(130, 64), tile, norm=norm, gated=True)


def _head() -> None:
    """The attention of a draft head: rows in order, and blocks, with windows and without."""
    keys, table = torch.zeros(2, 2, 300, 64, dtype=torch.bfloat16), torch.zeros(300, 1, 64)
    at, norm = torch.zeros(1, dtype=torch.int64), torch.ones(64, dtype=torch.bfloat16)
    for window, norms, block in ((None, None, False), (40, (norm, norm), True), (40, (norm, norm), False)):
        layer = HeadSlots(keys, keys.clone(), (table, table), 4, 1e-5, norms, window)
        layer.attend(torch.zeros(6, 8 * 64, dtype=torch.bfloat16), at, at, block=block, ordered=not block)
        layer.place(torch.zeros(6, 4 * 64, dtype=torch.bfloat16), at, at, queries=False)


def main(kind: str) -> None:
    _prepare()
    if kind == "packed":
        packed()
        return
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        saved(kind, Path(folder))
        model, in_fp8 = (
            load(Path(folder), torch.device("cpu"), torch.bfloat16, slots=2, context=300, kv_dtype=kv)
            for kv in get_args(KvDtype)
        )
        for width, decode in [*((width, model.decode) for width in _WIDTHS), (1, in_fp8.decode), (200, in_fp8.decode)]:
            tokens = torch.zeros(1, width, dtype=torch.int64)
            decode(tokens, torch.zeros(1, dtype=torch.int32), torch.zeros(1, dtype=torch.int32))
        rounds = DeviceRounds(model, model, [], Controller())
        for shaping in _SHAPINGS:
            rounds._round(rounds._inputs[model.sizes[0]], RoundKind(model.sizes[0], 2, HOST, shaping))
        _head()
        x, weight, out = (torch.zeros(n, m, dtype=torch.bfloat16) for n, m in ((200, 128), (64, 128), (200, 64)))
        prompt_products.product(x, weight, out, Tile(64, 64, split=2))


if __name__ == "__main__":
    main(sys.argv[1])
