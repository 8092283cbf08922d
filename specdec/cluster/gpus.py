"""GPUs by name, as their makers' data sheets give them."""

from __future__ import annotations

from dataclasses import dataclass

from specdec.errors import InvalidRequest

GIB = 2**30


@dataclass(frozen=True, slots=True)
class Gpu:
    """Memory in bytes, memory bandwidth in bytes/s, dense 16-bit FLOP/s."""

    name: str
    memory: float
    bandwidth: float
    flops: float


# GiB of memory, TB/s, TFLOP/s
_KNOWN = {
    "a100-40": (40, 1.555, 312),
    "a100-80": (80, 2.039, 312),
    "l4": (24, 0.300, 121),
    "l40s": (48, 0.864, 362),
    "h100": (80, 3.35, 989),
    "h200": (141, 4.8, 989),
    "b200": (180, 8.0, 2250),
    "rtx4090": (24, 1.008, 165),
    "rtx5090": (32, 1.792, 210),
    "rtx6000ada": (48, 0.960, 364),
}


def gpu(name: str) -> Gpu:
    """A GPU of that name."""
    known = name.lower().replace(" ", "")
    if known not in _KNOWN:
        raise InvalidRequest("gpu", name, "one of " + ", ".join(_KNOWN))
    gib, terabytes, teraflops = _KNOWN[known]
    return Gpu(known, gib * GIB, terabytes * 1e12, teraflops * 1e12)
