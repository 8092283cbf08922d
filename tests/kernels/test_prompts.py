"""Products and attention of many rows: the bits of the kernels for a few."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from specdec.kernels import attention, products, prompt_attention, prompt_products
from specdec.kernels.attention import Heads, SplitKeys
from specdec.kernels.pages import PagedKeys, part_of
from specdec.kernels.products import Scratch
from specdec.kernels.tiles import Product, Tile, by_rule
from specdec.models.base import DECODE_ROWS, Batch
from specdec.types.load import KvDtype
from tests.kernels.bits import same_bits
from tests.kernels.test_runner import Here, load, saved
from tests.models.models import tokens

CUDA = torch.cuda.is_available()
DTYPE = torch.bfloat16 if CUDA else torch.float16
EPS = 1e-5
SHAPES = [
    (1, 64, 128, Tile(64, 64)),
    (17, 136, 96, Tile(64, 64)),
    (130, 100, 256, Tile(64, 64, 2)),
    (9, 64, 128, Tile(64, 64, 2)),
]
GPU_SHAPES = [
    (rows, columns, inner, None)
    for rows, columns, inner in [
        (1, 6144, 4096), (200, 4096, 4096), (333, 4096, 14336), (700, 3072, 2048), (257, 2048, 8192), (65, 1000, 1000),
        (511, 960, 576), (128, 2560, 2560), (600, 576, 1536), (300, 5120, 5120), (300, 64, 128),
    ]
]  # fmt: skip
HOW: dict[str, dict[str, bool]] = {
    "plain": {},
    "normed": {"norm": True, "bias": True},
    "gated": {"norm": True, "gated": True},
    "added": {"residual": True},
}


@pytest.mark.parametrize("how", list(HOW))
@pytest.mark.parametrize(("rows", "columns", "inner", "tile"), GPU_SHAPES if CUDA else SHAPES)
def test_products(rows: int, columns: int, inner: int, tile: Tile | None, how: str, device: torch.device) -> None:
    torch.manual_seed(rows)
    asked = HOW[how]
    gated = asked.get("gated", False)
    wanted = Product(columns, inner, gated, DTYPE)
    tile = tile or by_rule(wanted)
    assert prompt_products.exact({wanted: tile}, DTYPE, device)
    x, weight = (torch.randn(n, inner, device=device).to(DTYPE) for n in (rows, columns * (1 + gated)))
    weight *= 0.1
    options: dict[str, Any] = {"eps": EPS, "gated": gated, "residual": "residual" in asked}
    options |= {
        name: torch.rand(n, device=device).to(DTYPE) if name in asked else None
        for name, n in (("norm", inner), ("bias", columns))
    }
    stream = torch.randn(rows, columns, device=device).to(DTYPE)
    scratch = Scratch.on(device, 1 << (26 if CUDA else 18), 1 << 15)
    narrow = products.product(x, weight, stream.clone(), tile, scratch, **options)
    wide = prompt_products.product(x, weight, stream.clone(), tile, **options)
    assert same_bits(wide, narrow)
    precise = torch.empty(rows, columns, dtype=torch.float32, device=device)
    if not options["residual"]:
        narrow = products.product(x, weight, precise.clone(), tile, scratch, **options)
        assert same_bits(prompt_products.product(x, weight, precise, tile, **options), narrow)


def _held(count: int, start: int, page: int, heads: Heads, device: torch.device, kv_dtype: KvDtype) -> dict[str, Any]:
    """A sequence of `start` tokens in pages that lie anywhere, among others that hold NaN."""
    torch.manual_seed(count + start)
    size, width = heads.size, -(-(start + count) // page)
    pool = torch.full((2, 2 * width + 3, heads.kv_heads, page, size), torch.nan, device=device, dtype=DTYPE)
    table = torch.zeros(2, width + 1, dtype=torch.int32, device=device)
    table[1, :width] = torch.randperm(2 * width + 2, device=device)[:width].int() + 1
    for at in range(start):
        pool[:, table[1, at // page], :, at % page] = torch.randn(2, heads.kv_heads, size, device=device).to(DTYPE)
    if kv_dtype == "fp8":
        pool = _words(pool)
    angle = torch.rand(start + count + 16, 1, size, device=device) * 6
    return {
        "qkv": torch.randn(count, (heads.heads + 2 * heads.kv_heads) * size, device=device).to(DTYPE),
        "held": PagedKeys(pool[0], pool[1], table),
        "slots": torch.tensor([1], dtype=torch.int32, device=device),
        "starts": torch.tensor([start], dtype=torch.int32, device=device),
        "rotary": (angle.cos(), angle.sin()),
        "heads": heads,
    }


def _words(x: Tensor) -> Tensor:
    """Halves of what is held, in fp8 side by side."""
    low, high = x.to(torch.float8_e4m3fn).view(torch.uint8).chunk(2, -1)
    return torch.stack([low, high], -1).view(torch.int16).squeeze(-1)


def _numbers(held: Tensor) -> Tensor:
    if held.dtype != torch.int16:
        return held
    return held.unsqueeze(-1).view(torch.float8_e4m3fn).float().transpose(-1, -2).flatten(-2)


CASES = [
    (70, 0, 4, 2, 32, None, 64, True, "auto"),
    (40, 33, 3, 1, 32, 50, 64, False, "auto"),
    (5, 300, 4, 4, 64, None, 16, True, "auto"),
    (40, 33, 4, 2, 32, 50, 64, True, "fp8"),
]
GPU_CASES = [
    (700, 0, 32, 8, 128, None, 128), (300, 1001, 32, 8, 128, None, 128), (257, 63, 32, 8, 64, None, 64),
    (129, 500, 9, 3, 64, None, 256), (512, 700, 32, 8, 128, 100, 128), (260, 900, 14, 2, 64, 300, 128),
    (65, 1, 16, 16, 128, None, 128), (40, 777, 16, 8, 256, None, 128), (1, 1100, 32, 8, 128, 513, 128),
    (640, 640, 8, 1, 32, None, 64), (448, 100, 4, 2, 32, 6, 128), (300, 7000, 8, 2, 128, None, 128),
]  # fmt: skip


HOWS = [(False, "auto"), (True, "auto"), (True, "fp8")]


@pytest.mark.parametrize(
    ("count", "start", "heads", "kv_heads", "size", "window", "page", "normed", "kv_dtype"),
    [(*case, *how) for case in GPU_CASES for how in HOWS] if CUDA else CASES,
)
def test_attention(
    count: int,
    start: int,
    heads: int,
    kv_heads: int,
    size: int,
    window: int | None,
    page: int,
    normed: bool,
    kv_dtype: KvDtype,
    device: torch.device,
) -> None:
    shape = Heads(heads, kv_heads, size, EPS)
    one, other = (_held(count, start, page, shape, device, kv_dtype) for _ in range(2))
    for each in (one, other):
        each["qkv"][0, -1] = 1000.0  # a value that fp8 has not
    norms = tuple(torch.rand(2, size, device=device).to(DTYPE)) if normed else None
    options = {"window": window, "norms": norms}
    split = SplitKeys.on(device, shape.blocks(count), one["held"].parts, size)
    narrow = attention.attend(**one, split=split, **options)  # type: ignore[arg-type]
    room = prompt_attention.room_for(other["held"], DTYPE) if kv_dtype == "fp8" else None
    wide = prompt_attention.attend(**other, **options, room=room)  # type: ignore[arg-type]
    assert same_bits(wide, narrow)
    assert bool(narrow.isfinite().all())
    for name in ("keys", "values"):
        mine, theirs = _numbers(getattr(one["held"], name)), _numbers(getattr(other["held"], name))
        written = mine.isfinite()
        assert torch.equal(written, theirs.isfinite())
        assert int(written.sum()) == (start + count) * kv_heads * size
        assert same_bits(mine.nan_to_num(), theirs.nan_to_num())


def test_parts_are_cut_by_position_alone(device: torch.device) -> None:
    """Each begins where the one before ends; none is longer than a sixteenth of what lies before it, or one page."""
    ends, page = [0], 128
    for key in range(0, 1 << 18, page):
        part = part_of(key, page)
        assert part in (len(ends) - 1, len(ends))
        if part == len(ends):
            ends.append(key)
    sizes = [b - a for a, b in pairwise(ends)]
    assert all(size <= max(page, begin // 16 + page) for begin, size in zip(ends, sizes, strict=False))
    assert len(ends) < 130


MODELS = [("llama-llama3", "auto"), ("mistral-window", "auto"), ("qwen2", "fp8"), ("mistral-window", "fp8")]


@pytest.mark.parametrize(("kind", "kv_dtype"), [("qwen3", "auto"), *(MODELS if CUDA else [])])
def test_a_prompt_in_any_pieces(
    kind: str, kv_dtype: KvDtype, tmp_path: Path, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prompt in one pass, in pieces of odd sizes, and token by token at its end: the same logits, keys and values."""
    least, length, page = (64, 700, 64) if CUDA else (16, 40, 16)
    monkeypatch.setattr(prompt_products, "LEAST", least)
    saved(kind, tmp_path)
    model = load(tmp_path, device, DTYPE, context=length + 20, page=page, kv_dtype=kv_dtype)
    runner, ids = Here(model), tokens(1, length + 4)

    def read(slot: int, pieces: list[int]) -> tuple[Tensor, Tensor]:
        at = 0
        for piece in pieces:
            runner.run(Batch(ids[:, at : at + piece], [slot], [at], 0))
            at += piece
        assert at == length
        logits = runner.run(Batch(ids[:, length:], [slot], [length], 4)).logits
        pages = model.pages.table[slot, : -(-length // page)]
        return logits, _numbers(model.pages.pool[:, pages]).transpose(1, 2).flatten(2, 3)[:, :, :length]

    chance = random.Random(kind)
    cuts = [sorted(chance.sample(range(1, length), 3)) for _ in range(2)]
    pieces = [[b - a for a, b in zip([0, *cut], [*cut, length], strict=True)] for cut in cuts]
    few = min(least - 1, DECODE_ROWS)
    narrow = [min(few, length - at) for at in range(0, length, few)]
    wanted = read(0, narrow)
    for slot, cut in ((1, [length]), (2, pieces[0]), (1, pieces[1])):
        found = read(slot, cut)
        assert all(same_bits(a, b) for a, b in zip(found, wanted, strict=True))
