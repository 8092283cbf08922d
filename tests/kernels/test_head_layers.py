"""A head's layers by kernels are its layers in torch."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from specdec.drafters.heads.cache import CachedRows, HeadCache
from specdec.drafters.heads.checkpoint import HeadTensors
from specdec.drafters.heads.config import read
from specdec.drafters.heads.kernels import KernelBody, supported
from specdec.drafters.heads.layers import HeadBody, read_layer
from specdec.kernels.tiles import Tiles
from specdec.models.weights.dense import DenseWeight
from tests.drafters.heads.building import Sizes, head

HIDDEN, CAPACITY = 64, 700


@pytest.mark.parametrize("window", [None, 12])
def test_layers(window: int | None, tmp_path: Path, device: torch.device) -> None:
    """Two sequences at different places, one behind more than a program's share of keys: rows in order, one row, and a
    block, in order or not."""
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    written = head("dflash", Sizes(HIDDEN, 3, 97), num_attention_heads=4, num_key_value_heads=2, head_dim=32)
    written.config["layer_types"] = ["sliding_attention" if window else "full_attention"] * 2
    wide = {"q_proj": (128, HIDDEN), "k_proj": (64, HIDDEN), "v_proj": (64, HIDDEN), "o_proj": (HIDDEN, 128)}
    for i in range(2):
        written.add({f"layers.{i}.self_attn.{name}.weight": shape for name, shape in wide.items()})
        written.add({f"layers.{i}.self_attn.{name}_norm.weight": (32,) for name in "qk"})
    family = read(written.save(tmp_path), 3).family
    tensors = HeadTensors(tmp_path, device, dtype, DenseWeight)
    layers = [read_layer(tensors, f"layers.{i}", family, HIDDEN) for i in range(2)]
    assert supported(family, layers)
    plain, fast = HeadBody(family, layers), KernelBody(family, layers, 32, Tiles("none"))
    caches = [HeadCache(family, 2, CAPACITY, device, dtype) for _ in range(2)]
    generator = torch.Generator().manual_seed(1)
    history = torch.randn(600, HIDDEN, generator=generator).to(device, dtype)
    slots = torch.tensor([2, 0], device=device)
    for cache in caches:
        for slot, length in ((2, 600), (0, 5)):
            at = (torch.tensor([slot], device=device), torch.zeros(1, dtype=torch.int64, device=device))
            for index in range(2):
                plain.keep(index, history[:length], CachedRows(cache, *at, length))
    for starts, count, block, ordered in (([590, 5], 4, False, False), ([594, 7], 1, False, False),
                                          ([595, 8], 8, True, False), ([595, 8], 6, True, True)):  # fmt: skip
        where = torch.tensor(starts, device=device)
        x = torch.randn(2 * count, HIDDEN, generator=generator).to(device, dtype)
        found: list[Tensor] = []
        for body, cache in zip((plain, fast), caches, strict=True):
            rows = CachedRows(cache, slots, where, count, block=block, causal_windows=ordered)
            body.keep(1, x, rows)
            hidden = body.layer(1, body.layer(0, x.clone(), rows), rows)
            found.append(body.product(hidden, layers[0].kv, layers[0].input_norm, torch.float32))
        bound = 1e-4 if dtype == torch.float32 else 0.05
        torch.testing.assert_close(found[1], found[0], rtol=bound, atol=bound * float(found[0].abs().max()))
        torch.testing.assert_close(caches[1].tensor[:, [0, 2]], caches[0].tensor[:, [0, 2]], rtol=bound, atol=bound * 4)
