"""`specdec warm`: compile what a pair needs on this GPU, before anybody waits for it."""

from __future__ import annotations

import time

from specdec.cli import options as o
from specdec.cli.screen import loaded, stdout
from specdec.types import LoadOptions

_LOADING = LoadOptions()


@o.command
def warm(loading: LoadOptions = _LOADING) -> None:
    """Load a target and its draft once, so that their kernels are compiled and kept on this machine. Later loads take
    them from there. On a CPU nothing is compiled."""
    began = time.perf_counter()
    with loaded(loading) as engine:
        info = engine.info
    spent = f"{info.target} was ready in {time.perf_counter() - began:.0f} s"
    if not info.device.startswith("cuda"):
        stdout().print(f"{spent}; on a {info.device} nothing is compiled")
        return
    from triton import knobs

    stdout().print(f"{spent}; its kernels are kept in {knobs.cache.dir}")
