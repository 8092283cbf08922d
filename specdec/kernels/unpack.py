"""Tiles of packed weights to numbers, in few instructions: two numbers of 16 bits at a time.

A code becomes the low bits of a float whose exponent makes it a whole number, and what that adds is taken off again:
all exact. Then comes the scale, and one rounding. Where there is no such instruction (fp32, Triton's interpreter) the
same numbers come of plain conversions.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from specdec.kernels.launch import INTERPRETED
from specdec.kernels.packed import LOWEST, Kind, Packed, parts

_COLUMNS = 64
"""Of a program that writes all numbers down."""
_NATIVE = tl.constexpr(not INTERPRETED)
_LARGEST = tl.constexpr(448.0)
"""Number of fp8 (e4m3)."""
_LOWEST_INT4, _LOWEST_INT8 = tl.constexpr(LOWEST["int4"]), tl.constexpr(LOWEST["int8"])


def _shifted(bits: int) -> str:
    """Register 0 = register 1, so many bits lower, or higher where they are less than none."""
    return f"shr.b32 $0, $1, {bits};" if bits > 0 else f"shl.b32 $0, $1, {-bits};" if bits else "mov.b32 $0, $1;"


def _lanes(mask: int) -> str:
    return f"{mask << 16 | mask:#x}"


def _masked(mask: int, base: int) -> str:
    return f"lop3.b32 $0, $0, {_lanes(mask)}, {_lanes(base)}, 0xea;"  # (a & b) | c


def _signed(sign: int, rest: int, mask: int) -> str:
    """A float of a code whose sign, and whose other bits, stand so much too high."""
    sign_bit = _shifted(sign).replace("$0", "t") + f"and.b32 t, t, {_lanes(0x8000)};"
    return "{ .reg .b32 t; " + sign_bit + _shifted(rest) + f"lop3.b32 $0, $0, {_lanes(mask)}, t, 0xea; }}"


def _code(kind: str, part: int, *, bf16: bool) -> str:
    """Instructions that make two numbers of 16 bits of a part of two words."""
    base = 0x4300 if bf16 else 0x6400  # 128, 1024
    if kind == "int4":
        return _shifted(4 * part) + _masked(0xF, base)
    if kind == "int8" and bf16:
        return _shifted(8 * part) + _masked(0x7F, base)
    if kind == "int8":
        return _shifted(8 * part) + f"lop3.b32 $0, $0, {_lanes(0x80)}, 0, 0x3c;" + _masked(0xFF, base)  # a ^ b
    if kind == "mxfp4":
        exponent = 7 if bf16 else 10
        return _signed(4 * part + 3 - 15, 4 * part + 1 - exponent, 7 << exponent - 1)
    exponent = 7 if bf16 else 10
    return _signed(8 * part + 7 - 15, 8 * part + 3 - exponent, 0x7F << exponent - 3)


def _multiply(kind: str) -> tl.constexpr:
    return tl.constexpr(f"{{ .reg .b32 z; mov.b32 z, 0x80008000; fma.rn.{kind} $0, $1, $2, z; }}")


def _subtract(kind: str, minus_one: str) -> tl.constexpr:
    return tl.constexpr(f"{{ .reg .b32 m; mov.b32 m, {minus_one}; fma.rn.{kind} $0, $2, m, $1; }}")


_TIMES_BF16, _TIMES_FP16 = _multiply("bf16x2"), _multiply("f16x2")
_TIMES_BOTH = tl.constexpr(
    "{ .reg .b32 t; mov.b32 t, 0x80008000; fma.rn.bf16x2 t, $1, $3, t; fma.rn.bf16x2 $0, $1, $2, t; }"
)
_MINUS_BF16, _MINUS_FP16 = _subtract("bf16x2", "0xbf80bf80"), _subtract("f16x2", "0xbc00bc00")


_FP8_BF16, _FP8_FP16 = (tl.constexpr(tuple(_code("fp8", part, bf16=bf16) for part in (0, 1))) for bf16 in (True, False))


@triton.jit
def _floats(held, CODES: tl.constexpr, AT: tl.constexpr, TYPE: tl.constexpr):
    """Words to floats, two at a time."""
    code: tl.constexpr = CODES[AT]
    if TYPE == tl.bfloat16:
        return tl.inline_asm_elementwise(code, "=r,r", [held], dtype=tl.bfloat16, is_pure=True, pack=2)
    else:
        return tl.inline_asm_elementwise(code, "=r,r", [held], dtype=tl.float16, is_pure=True, pack=2)


@triton.jit
def _times(a, b, TYPE: tl.constexpr):
    """a * b, one rounding."""
    if TYPE == tl.bfloat16 and _NATIVE:
        return tl.inline_asm_elementwise(_TIMES_BF16, "=r,r,r", [a, b], dtype=tl.bfloat16, is_pure=True, pack=2)
    elif TYPE == tl.float16 and _NATIVE:
        return tl.inline_asm_elementwise(_TIMES_FP16, "=r,r,r", [a, b], dtype=tl.float16, is_pure=True, pack=2)
    else:
        return (a.to(tl.float32) * b.to(tl.float32)).to(TYPE)


@triton.jit
def _times_wide(a, b, TYPE: tl.constexpr):
    """a * b, b [n, 1] in fp32. In bf16 b is the sum of two, which is all but one rounding. In fp16 the second would be
    too small."""
    if TYPE == tl.bfloat16 and _NATIVE:
        high = b.to(tl.bfloat16)
        low = tl.broadcast_to((b - high.to(tl.float32)).to(tl.bfloat16), a.shape)
        high = tl.broadcast_to(high, a.shape)
        return tl.inline_asm_elementwise(
            _TIMES_BOTH, "=r,r,r,r", [a, high, low], dtype=tl.bfloat16, is_pure=True, pack=2
        )
    else:
        return (a.to(tl.float32) * b).to(TYPE)


@triton.jit
def _minus(a, b, TYPE: tl.constexpr):
    """a - b of 16 bits, where that is exact."""
    if TYPE == tl.bfloat16:
        return tl.inline_asm_elementwise(_MINUS_BF16, "=r,r,r", [a, b], dtype=tl.bfloat16, is_pure=True, pack=2)
    else:
        return tl.inline_asm_elementwise(_MINUS_FP16, "=r,r,r", [a, b], dtype=tl.float16, is_pure=True, pack=2)


@triton.jit
def _plain(held, PART: tl.constexpr, KIND: tl.constexpr):
    """Codes to numbers by conversions, fp32."""
    bits = held.to(tl.int32)
    if KIND == "int4":
        return ((bits >> (4 * PART)) & 15).to(tl.float32) - 8
    elif KIND == "int8":
        return (bits << (24 - 8 * PART) >> 24).to(tl.float32)
    elif KIND == "mxfp4":
        code = (bits >> (4 * PART)) & 15
        size = code & 7
        twice = tl.where(size < 4, size, (2 + (size & 1)) << ((size >> 1) - 1)).to(tl.float32)
        return tl.where(code > 7, -twice, twice) * 0.5
    else:
        code = bits >> (8 * PART)
        size = ((code & 127) << 20).to(tl.float32, bitcast=True) * 2.0**120
        return tl.where((code & 128) > 0, -size, size)


@triton.jit
def _numbers(
    held, shift, PART: tl.constexpr, KIND: tl.constexpr, CODES: tl.constexpr, SHIFT: tl.constexpr, TYPE: tl.constexpr
):
    """A part's codes [n, chunk] less `shift` [n, 1], exact in 16 bits; floats as `_raised` says too small."""
    found, base = _floats(held, CODES, PART, TYPE), tl.zeros(held.shape, TYPE)
    BF16: tl.constexpr = TYPE == tl.bfloat16
    if KIND == "int4":
        return _minus(found, base + (shift + (136 if BF16 else 1032)).to(TYPE), TYPE)
    elif KIND == "int8" and BF16:
        found = _minus(found, _floats(held, CODES, 2 + PART, TYPE), TYPE)
        if SHIFT == "no":
            return found
        else:
            return _minus(found, base + shift.to(TYPE), TYPE)
    elif KIND == "int8":
        return _minus(found, base + (shift + 1152).to(TYPE), TYPE)
    else:
        return found


@triton.constexpr_function
def _raised(kind, dtype):
    """What a float's bits are multiplied with when its exponent has become one of more bits."""
    if kind == "mxfp4":
        return 2.0**126 if dtype == tl.bfloat16 else 2.0**14
    return (2.0**120 if dtype == tl.bfloat16 else 2.0**8) if kind == "fp8" else 1.0


@triton.jit
def unpack(
    held,
    scale,
    shift,
    PART: tl.constexpr,
    KIND: tl.constexpr,
    CODES: tl.constexpr,
    SHIFT: tl.constexpr,
    SCALED: tl.constexpr,
    TYPE: tl.constexpr,
):
    """The numbers of a part of words [n, chunk] in TYPE, with a scale and a zero or minimum [n] fp32 for each row.

    SCALED: "pair" where the scale is exact in TYPE, "wide" else; "no" where it comes after the product."""
    LOWEST: tl.constexpr = _LOWEST_INT4 if KIND == "int4" else _LOWEST_INT8
    taken = tl.full((held.shape[0], 1), LOWEST if SHIFT == "minimums" else 0, tl.float32)
    if SHIFT == "zeros":
        taken = shift[:, None]
    if _NATIVE and TYPE != tl.float32:
        found = _numbers(held, taken, PART, KIND, CODES, SHIFT, TYPE)
        raised: tl.constexpr = _raised(KIND, TYPE)
        if SCALED != "no":
            scale *= raised
        elif raised != 1.0:
            found = _times(found, tl.full(held.shape, raised, TYPE), TYPE)
    else:
        found = _plain(held, PART, KIND) - taken
    if SHIFT == "minimums":
        wide = found.to(tl.float32)
        return tl.fma(wide, tl.broadcast_to(scale[:, None], wide.shape), shift[:, None]).to(TYPE)
    elif SCALED == "pair":
        return _times(found, tl.broadcast_to(scale[:, None].to(TYPE), found.shape), TYPE)
    elif SCALED == "wide":
        return _times_wide(found, scale[:, None], TYPE)
    else:
        return found.to(TYPE)


@triton.jit
def from_fp8(words, PART: tl.constexpr, TYPE: tl.constexpr):
    """The low (0) or the high (1) of two numbers in fp8 (e4m3)."""
    CODES: tl.constexpr = _FP8_BF16 if TYPE == tl.bfloat16 else _FP8_FP16
    return unpack(words, None, None, PART, "fp8", CODES, "no", "no", TYPE)


@triton.jit
def to_fp8(low, high):
    """Two numbers in fp8 side by side; what is too large becomes the largest there is."""
    low, high = low.to(tl.float32), high.to(tl.float32)
    if _NATIVE:
        return tl.inline_asm_elementwise(
            "cvt.rn.satfinite.e4m3x2.f32 $0, $2, $1;", "=h,f,f", [low, high], dtype=tl.int16, is_pure=True, pack=1
        )
    low, high = tl.clamp(low, -_LARGEST, _LARGEST), tl.clamp(high, -_LARGEST, _LARGEST)
    low, high = low.to(tl.float8e4nv).to(tl.uint8, bitcast=True), high.to(tl.float8e4nv).to(tl.uint8, bitcast=True)
    return (low.to(tl.int32) | high.to(tl.int32) << 8).to(tl.int16)


@triton.constexpr_function
def begins(part, chunk, count, group):
    """Whether a part of a unit may be the first of its group."""
    aligned = chunk * count % group == 0 or group % (chunk * count) == 0
    return part == 0 or not aligned or part * chunk % group == 0


@triton.jit
def group_at(at, K: tl.constexpr, GROUP: tl.constexpr):
    """The group of the number `at` of K; behind the last number, the last one."""
    return tl.minimum(at // GROUP, (K - 1) // GROUP)


@triton.jit
def scales(words, more, at, keep, WORDS: tl.constexpr, SHIFT: tl.constexpr, SCALED: tl.constexpr):
    """Scales and zeros or minimums at these places, fp32; ones and zeros where a product needs neither."""
    if SCALED == "no" and SHIFT == "no":
        return tl.full(at.shape, 1.0, tl.float32), tl.zeros(at.shape, tl.float32)
    word = tl.load(words + at, mask=keep, other=0)
    if WORDS == "fp32" and SHIFT == "no":
        return word, word
    elif WORDS == "fp32":
        return word, tl.load(more + at, mask=keep, other=0.0)
    elif WORDS == "bf16":
        return (word << 16).to(tl.float32, bitcast=True), ((word >> 16) << 16).to(tl.float32, bitcast=True)
    else:
        low, high = (word & 0xFFFF).to(tl.int16), (word >> 16).to(tl.int16)
        return low.to(tl.float16, bitcast=True).to(tl.float32), high.to(tl.float16, bitcast=True).to(tl.float32)


@triton.jit
def _dense(
    weight,
    words,
    more,
    out,
    N: tl.constexpr,
    K: tl.constexpr,
    BLOCK_N: tl.constexpr,
    KIND: tl.constexpr,
    CODES: tl.constexpr,
    CHUNK: tl.constexpr,
    PARTS: tl.constexpr,
    GROUP: tl.constexpr,
    WORDS: tl.constexpr,
    SHIFT: tl.constexpr,
    SCALED: tl.constexpr,
    ORDERED: tl.constexpr,  # noqa: ARG001
):
    """out [N, K] = the numbers of W, in the codes' order."""
    column, unit = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N), tl.program_id(1)
    keep, lane = column < N, tl.arange(0, CHUNK)
    at = unit.to(tl.int64) * (N * CHUNK) + column[:, None] * CHUNK + lane[None, :]
    held = tl.load(weight + at, mask=keep[:, None], other=0)
    for part in tl.static_range(PARTS):
        first = (unit * PARTS + part) * CHUNK
        scale, shift = scales(words, more, group_at(first, K, GROUP) * N + column, keep, WORDS, SHIFT, SCALED)
        w = unpack(held, scale, shift, part, KIND, CODES, SHIFT, SCALED, out.dtype.element_ty)
        inner = first + lane
        tl.store(out + column.to(tl.int64)[:, None] * K + inner[None, :], w, mask=keep[:, None] & (inner < K)[None, :])


def dense(weight: Packed, out: Tensor) -> Tensor:
    """Fill `out` [N, K] with the very numbers that products multiply with, in the codes' order."""
    held, words, more, _ = tensors(weight)
    _dense[(triton.cdiv(weight.columns, _COLUMNS), weight.tensor.shape[0])](
        held, words, more, out, N=weight.columns, K=weight.inner, BLOCK_N=_COLUMNS, **form(weight, out.dtype)
    )
    return out


_NAMES = {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}


def tensors(weight: Tensor | Packed) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What a kernel reads of W: codes, words, more, order; any tensor for what there is not."""
    if isinstance(weight, Tensor):
        return (weight,) * 4
    held, words = weight.tensor, weight.words
    return held, words, words if weight.more is None else weight.more, words if weight.order is None else weight.order


def _codes(kind: Kind, dtype: torch.dtype) -> tuple[str, ...]:
    count, bf16 = range(parts(kind)), dtype == torch.bfloat16
    # what is taken off a number of int8 in bf16, for its sign
    signs = tuple(_shifted(8 * part) + _masked(0x80, 0x4300) for part in count) if kind == "int8" and bf16 else ()
    return tuple(_code(kind, part, bf16=bf16) for part in count) + signs


def form(weight: Tensor | Packed, dtype: torch.dtype) -> dict[str, Any]:
    """The compile-time constants by which a kernel reads W for products in `dtype`."""
    if isinstance(weight, Tensor):
        packed = {
            "CODES": None,
            "CHUNK": 0,
            "PARTS": 0,
            "GROUP": 0,
            "WORDS": "no",
            "SHIFT": "no",
            "SCALED": "yes",
            "ORDERED": False,
        }
        return {"KIND": "dense"} | packed
    late = weight.whole and weight.shift != "minimums"
    return {
        "KIND": weight.kind,
        "CODES": _codes(weight.kind, dtype),
        "CHUNK": weight.chunk,
        "PARTS": parts(weight.kind),
        "GROUP": weight.group,
        "WORDS": _NAMES[weight.precision],
        "SHIFT": weight.shift or "no",
        "SCALED": "no" if late else "pair" if weight.precision == dtype else "wide",
        "ORDERED": weight.order is not None,
    }
