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


# GiB of memory, TB/s, TFLOP/s (sums in 32 bits)
_KNOWN = {
    "a100-40": (40, 1.555, 312),
    "a100-80": (80, 2.039, 312),
    "l4": (24, 0.300, 121),
    "l40s": (48, 0.864, 362),
    "h100": (80, 3.35, 989),
    "h200": (141, 4.8, 989),
    "b200": (180, 8.0, 2250),
    "a10": (24, 0.600, 125),
    "t4": (16, 0.320, 65),
    "rtx3060": (12, 0.360, 26),
    "rtx3080": (10, 0.760, 60),
    "rtx3090": (24, 0.936, 71),
    "rtx4060": (8, 0.272, 30),
    "rtx4060ti": (8, 0.288, 44),
    "rtx4070": (12, 0.504, 58),
    "rtx4070ti": (12, 0.504, 80),
    "rtx4070tisuper": (16, 0.672, 88),
    "rtx4080": (16, 0.717, 97),
    "rtx4080super": (16, 0.736, 104),
    "rtx4090": (24, 1.008, 165),
    "rtx5070": (12, 0.672, 62),
    "rtx5070ti": (16, 0.896, 88),
    "rtx5080": (16, 0.960, 113),
    "rtx5090": (32, 1.792, 210),
    "rtx6000ada": (48, 0.960, 364),
}


def is_gpu(name: str) -> bool:
    return _key(name) in _KNOWN


def _key(name: str) -> str:
    key = name.lower().replace(" ", "")
    return f"rtx{key}" if f"rtx{key}" in _KNOWN else key


def gpu(name: str) -> Gpu:
    """A GPU of that name; rtx may be left out."""
    if not is_gpu(name):
        raise InvalidRequest("gpu", name, "one of " + ", ".join(_KNOWN))
    known = _key(name)
    gib, terabytes, teraflops = _KNOWN[known]
    return Gpu(known, gib * GIB, terabytes * 1e12, teraflops * 1e12)


def gpu_here() -> Gpu:
    """This machine's first GPU, if it is one that is known."""
    try:
        import torch
    except ModuleNotFoundError:
        name = None
    else:
        name = torch.cuda.get_device_name(0) if torch.cuda.is_available() else None
    if name is None:
        raise InvalidRequest("gpu", None, "a name such as 4090 or h100, since there is no GPU here")
    short = "".join(name.lower().removeprefix("nvidia").replace("geforce", "").split())
    return gpu(short.removesuffix("80gbhbm3"))
