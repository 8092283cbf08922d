"""GGUF's types in the kernels' layout: the numbers that the package `gguf` makes of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Type
from gguf.quants import dequantize

from specdec.gguf import GgufTensor
from specdec.models.weights.repacked import bits_of, repacked
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


SAID = {"Q4_0": 5, "Q4_1": 5, "MXFP4": 5, "Q3_K": 6, "Q4_K": 6, "Q2_K": 8, "Q5_K": 10, "Q6_K": 10}
"""Bits of a number, as the documentation has them; of the others 9."""


@pytest.mark.parametrize("kind", QUANTISED)
def test_it_takes_what_is_said(kind: str) -> None:
    weight = repacked(_tensor(kind), torch.device("cpu"))
    assert weight is not None
    assert weight.nbytes * 8 / (5 * 512) == bits_of(kind) == SAID.get(kind, 9)


def test_what_several_types_take() -> None:
    """Queries, keys and values of most files named Q4_K_M: a form that holds all of them."""
    assert bits_of("Q4_K", "Q4_K", "Q6_K") == 12
    assert bits_of("Q4_0", "Q4_0", "MXFP4") is bits_of("Q4_0", "F16") is None, "these become plain"


def test_plain_types_stay_plain() -> None:
    assert repacked(_tensor("F16"), torch.device("cpu")) is None
    assert repacked(_tensor("BF16"), torch.device("cpu")) is None
