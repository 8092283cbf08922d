"""What all kernels share: whether Triton can run here, and how one kernel follows the other.

On GPUs that have it (Hopper and newer) kernels are launched by programmatic dependent launch: the next one's programs
take their places, and begin to fetch weights, while the last one ends. Each waits (`gdc_wait`) before it touches what
another kernel has written.
"""

from __future__ import annotations

import os
from functools import cache

import torch
import triton
import triton.language as tl
from torch import Tensor

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
"""The kernels run in Triton's interpreter, on CPU tensors: slow, for tests."""
_INTERPRETED = tl.constexpr(INTERPRETED)
PRECISION = tl.constexpr("ieee")
"""Of products in fp32: as they are, not rounded to fewer bits."""


@cache
def dependent_launch(device: torch.device) -> bool:
    """Whether kernels on this device may overlap the end of the one before."""
    return device.type == "cuda" and not INTERPRETED and torch.cuda.get_device_capability(device)[0] >= 9


@triton.jit
def wait(PDL: tl.constexpr):
    """For the kernel before."""
    if PDL:
        tl.extra.cuda.gdc_wait()


@triton.jit
def admit(PDL: tl.constexpr):
    """The programs of the kernel behind may take their places."""
    if PDL:
        tl.extra.cuda.gdc_launch_dependents()


@triton.jit
def follow(PDL: tl.constexpr):
    """Wait for the kernel before, and let the one behind come near."""
    wait(PDL)
    admit(PDL)


@triton.jit
def prefetch(pointers):
    """Ask for the lines at these pointers, to lie in L2 when they are read."""
    tl.inline_asm_elementwise(
        "prefetch.global.L2 [$1]; mov.u32 $0, 0;", "=r,l", [pointers], dtype=tl.int32, is_pure=False, pack=1
    )


@triton.jit
def peek(pointer):
    """The int32 at a pointer. A pipelined loop takes `tl.load` for one of the loads that it runs ahead, and all that
    depends on it comes a stage later."""
    if _INTERPRETED:
        return tl.load(pointer)
    return tl.inline_asm_elementwise("ld.global.b32 $0, [$1];", "=r,l", [pointer], dtype=tl.int32, is_pure=True, pack=1)


@triton.jit
def clock():
    """The device's clock, in nanoseconds."""
    return tl.inline_asm_elementwise(
        "mov.u64 $0, %globaltimer; // $1", "=l,l", [tl.zeros((), tl.int64)], dtype=tl.int64, is_pure=False, pack=1
    )


@triton.jit
def _stamp(out):
    tl.store(out, clock())


def stamp(out: Tensor) -> None:
    """Write the device's clock to `out` (one int64) when all before it is done."""
    _stamp[(1,)](out, num_warps=1)
