"""Tensors of GGUF files as weights in few bits, without loss: the numbers are those that the file stands for.

Bits a number, in the file and here:

    Q4_0 4.5, 5       Q4_1 5, 5         Q8_0 8.5, 9       MXFP4 4.25, 5
    Q5_0 5.5, 9       Q5_1 6, 9         IQ4_NL 4.5, 9                            codes take a byte here
    Q2_K 2.6, 8       Q3_K 3.4, 6       Q4_K 4.5, 6                              scales are products: 32 bits here
    Q5_K 5.5, 10      Q6_K 6.6, 10      IQ4_XS 4.25, 9                           both
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from specdec.gguf import GgufTensor
from specdec.kernels.packed import Kind
from specdec.models.weights.quantized import QuantizedWeight, quantized, stacked


class _Codes(NamedTuple):
    """What the blocks [R, B, bytes] of a tensor hold."""

    kind: Kind
    q: Tensor
    """[R, B, numbers of a block], as `quantized` takes it"""
    scales: Tensor
    """[R, B, groups of a block]"""
    minimums: Tensor | None = None


_Read = Callable[[Tensor], _Codes]
_TYPES: dict[str, tuple[int, _Read]] = {}
"""Bytes of a block, and what reads it."""


def repacked(tensor: GgufTensor, device: torch.device) -> QuantizedWeight | None:
    """A matrix in the kernels' layout; None for types that are plain, or that have no form here."""
    if tensor.type not in _TYPES:
        return None
    size, read = _TYPES[tensor.type]
    return _weight(read(torch.from_numpy(tensor.data.copy()).to(device).view(tensor.shape[0], -1, size)))


def _weight(codes: _Codes) -> QuantizedWeight:
    kind, q, scales, minimums = codes
    more = {} if minimums is None else {"minimums": minimums.flatten(1)}
    return quantized(kind, q.flatten(1), scales.flatten(1), **more)


def _reads(name: str, size: int) -> Callable[[_Read], _Read]:
    """Enters a function into `_TYPES`."""

    def enter(read: _Read) -> _Read:
        _TYPES[name] = (size, read)
        return read

    return enter


def _half(blocks: Tensor, at: int) -> Tensor:
    """The fp16 number at a byte of each block, [R, B, 1]."""
    return blocks[..., at : at + 2].contiguous().view(torch.float16)


def _nibbles(blocks: Tensor, start: int, run: int, end: int | None = None) -> Tensor:
    """4-bit codes: those of `run` bytes low, then the same high, and so on. [R, B, numbers]"""
    held = blocks[..., start:end].reshape(*blocks.shape[:2], -1, 1, run)
    return torch.cat((held & 15, held >> 4), -2).flatten(-3)


def _bits(blocks: Tensor, start: int, end: int, run: int, width: int) -> Tensor:
    """Codes of `width` bits: the lowest of `run` bytes, then the next of the same, and so on. [R, B, numbers]"""
    shifts = torch.arange(0, 8, width, dtype=torch.uint8, device=blocks.device).unsqueeze(-1)
    held = blocks[..., start:end].reshape(*blocks.shape[:2], -1, 1, run)
    return torch.flatten((held >> shifts) & (2**width - 1), -3)


def _signed(codes: Tensor, zero: int) -> Tensor:
    return codes.to(torch.int8) - zero


@_reads("Q4_0", 18)
def _q4_0(blocks: Tensor) -> _Codes:
    return _Codes("int4", _signed(_nibbles(blocks, 2, 16), 8), _half(blocks, 0))


@_reads("Q4_1", 20)
def _q4_1(blocks: Tensor) -> _Codes:
    return _Codes("int4", _signed(_nibbles(blocks, 4, 16), 8), _half(blocks, 0), _half(blocks, 2))


def _fifth(blocks: Tensor, at: int) -> Tensor:
    """5-bit codes: the fifth bits are one word, the other four follow it."""
    bit = torch.arange(8, dtype=torch.uint8, device=blocks.device)
    high = ((blocks[..., at : at + 4].unsqueeze(-1) >> bit) & 1).flatten(-2)
    return _nibbles(blocks, at + 4, 16) | high << 4


@_reads("Q5_0", 22)
def _q5_0(blocks: Tensor) -> _Codes:
    return _Codes("int8", _signed(_fifth(blocks, 2), 16), _half(blocks, 0))


@_reads("Q5_1", 24)
def _q5_1(blocks: Tensor) -> _Codes:
    return _Codes("int8", _signed(_fifth(blocks, 4), 64) - 64, _half(blocks, 0), _half(blocks, 2))


@_reads("Q8_0", 34)
def _q8_0(blocks: Tensor) -> _Codes:
    return _Codes("int8", blocks[..., 2:].contiguous().view(torch.int8), _half(blocks, 0))


@_reads("Q2_K", 84)
def _q2_k(blocks: Tensor) -> _Codes:
    scales, q = blocks[..., :16], _bits(blocks, 16, 80, 32, 2)
    wide, least = _half(blocks, 80).float(), _half(blocks, 82).float()
    return _Codes("int4", _signed(q, 8), wide * (scales & 15), -(least * (scales >> 4)))


@_reads("Q3_K", 110)
def _q3_k(blocks: Tensor) -> _Codes:
    q = _bits(blocks, 32, 96, 32, 2) | _bits(blocks, 0, 32, 32, 1) << 2
    low, high = _nibbles(blocks, 96, 8, 104), _bits(blocks, 104, 108, 4, 2)
    return _Codes("int4", _signed(q, 4), _half(blocks, 108).float() * _signed(low | high << 4, 32))


def _six_bits(blocks: Tensor) -> tuple[Tensor, Tensor]:
    """Scales and minimums [R, B, 8] fp32 of types whose blocks begin alike."""
    first, second, rest = (blocks[..., at : at + 4] for at in (4, 8, 12))
    scales = torch.cat((first & 63, (rest & 15) | (first >> 6) << 4), -1)
    least = torch.cat((second & 63, (rest >> 4) | (second >> 6) << 4), -1)
    return _half(blocks, 0).float() * scales, -(_half(blocks, 2).float() * least)


@_reads("Q4_K", 144)
def _q4_k(blocks: Tensor) -> _Codes:
    return _Codes("int4", _signed(_nibbles(blocks, 16, 32), 8), *_six_bits(blocks))


@_reads("Q5_K", 176)
def _q5_k(blocks: Tensor) -> _Codes:
    q = _nibbles(blocks, 48, 32) | _bits(blocks, 16, 48, 32, 1) << 4
    return _Codes("int8", _signed(q, 64) - 64, *_six_bits(blocks))


@_reads("Q6_K", 210)
def _q6_k(blocks: Tensor) -> _Codes:
    q = _nibbles(blocks, 0, 64, 128) | _bits(blocks, 128, 192, 32, 2) << 4
    scales = blocks[..., 192:208].contiguous().view(torch.int8)
    return _Codes("int8", _signed(q, 32), _half(blocks, 208).float() * scales)


_IQ4 = (-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
"""What the codes of IQ4 types stand for, times a scale."""


def _iq4(codes: Tensor) -> Tensor:
    return torch.tensor(_IQ4, dtype=torch.int8, device=codes.device)[codes.int()]


@_reads("IQ4_NL", 18)
def _iq4_nl(blocks: Tensor) -> _Codes:
    return _Codes("int8", _iq4(_nibbles(blocks, 2, 16)), _half(blocks, 0))


@_reads("IQ4_XS", 136)
def _iq4_xs(blocks: Tensor) -> _Codes:
    low = torch.stack((blocks[..., 4:8] & 15, blocks[..., 4:8] >> 4), -1).flatten(-2)
    shifts = torch.arange(0, 8, 2, dtype=torch.uint8, device=blocks.device)
    high = ((blocks[..., 2:4].unsqueeze(-1) >> shifts) & 3).flatten(-2)
    scales = _half(blocks, 0).float() * _signed(low | high << 4, 32)
    return _Codes("int8", _iq4(_nibbles(blocks, 8, 16)), scales)


@_reads("MXFP4", 17)
def _mxfp4(blocks: Tensor) -> _Codes:
    return _Codes("mxfp4", _nibbles(blocks, 1, 16), blocks[..., :1])


@cache
def bits_of(*types: str) -> float | None:
    """Of a number with its share of scales, where matrices of these types become one; None where that is plain."""
    if not all(kind in _TYPES for kind in types):
        return None
    whole = stacked([_blank(kind) for kind in types])
    return None if whole is None else whole.nbytes * 8 / (_ROW * len(types))


_ROW = 512


def _blank(kind: str) -> QuantizedWeight:
    """A row of zeros in a type."""
    size, read = _TYPES[kind]
    block = read(torch.zeros(1, 1, size, dtype=torch.uint8)).q.shape[-1]
    return _weight(read(torch.zeros(1, _ROW // block, size, dtype=torch.uint8)))
