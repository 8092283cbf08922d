"""GGUF's types in the kernels' layout: the numbers that the package `gguf` makes of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Type
from gguf.quants import dequantize

from specdec.gguf import GgufTensor
from specdec.models.weights.repacked import BITS, repacked
from tests import gguf_files

QUANTISED = [kind for kind in gguf_files.TYPES if kind not in ("F32", "F16", "BF16")]


def _tensor(kind: str, rows: int = 5, columns: int = 512) -> GgufTensor:
    rng = np.random.default_rng(3)
    data = gguf_files.encoded(rng.normal(0, 0.1, (rows, columns)).astype(np.float32), kind, rng)
    return GgufTensor("x", (rows, columns), kind, data)


@pytest.mark.parametrize("kind", QUANTISED)
def test_no_number_is_another(kind: str) -> None:
    tensor = _tensor(kind)
    weight = repacked(tensor, torch.device("cpu"))
    assert weight is not None
    wanted = torch.from_numpy(dequantize(tensor.data, Type[kind]))
    assert len(set(wanted.flatten().tolist())) > 16
    assert torch.equal(weight.dequantized(torch.float32), wanted)


@pytest.mark.parametrize("kind", QUANTISED)
def test_it_takes_what_is_said(kind: str) -> None:
    weight = repacked(_tensor(kind), torch.device("cpu"))
    assert weight is not None
    assert weight.nbytes * 8 / (5 * 512) == BITS[kind]


def test_plain_types_stay_plain() -> None:
    assert repacked(_tensor("F16"), torch.device("cpu")) is None
    assert repacked(_tensor("BF16"), torch.device("cpu")) is None
