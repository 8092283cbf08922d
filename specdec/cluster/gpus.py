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


def _gpu(name: str, gib: float, terabytes: float, teraflops: float) -> Gpu:
    return Gpu(name, gib * GIB, terabytes * 1e12, teraflops * 1e12)


_KNOWN = {
    g.name: g
    for g in (
        _gpu("a100-40", 40, 1.555, 312), _gpu("a100-80", 80, 2.039, 312), _gpu("l4", 24, 0.300, 121),
        _gpu("l40s", 48, 0.864, 362), _gpu("h100", 80, 3.35, 989), _gpu("h200", 141, 4.8, 989),
        _gpu("b200", 180, 8.0, 2250), _gpu("rtx4090", 24, 1.008, 165), _gpu("rtx5090", 32, 1.792, 210),
        _gpu("rtx6000ada", 48, 0.960, 364),
    )
}  # fmt: skip


def gpu(name: str) -> Gpu:
    """A GPU of that name."""
    found = _KNOWN.get(name.lower().replace(" ", ""))
    if found is None:
        raise InvalidRequest("gpu", name, "one of " + ", ".join(_KNOWN))
    return found
