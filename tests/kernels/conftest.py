"""What the tests of the kernels share. Without a GPU they run in Triton's interpreter (see `tests/conftest.py`)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
import torch

pytest.importorskip("triton", reason="Triton is on Linux alone")


def _keep_the_language_interpreted() -> None:
    """Triton's interpreter looks through its whole language for what to replace at each call of a function inside a
    kernel, which is 40 % of its time. What was replaced once stays so."""
    from triton import language
    from triton.runtime import interpreter

    patch, patched = interpreter._patch_lang, set[frozenset[int]]()

    def once(kernel: Any) -> Any:
        seen = frozenset(id(m) for m in kernel.__globals__.values() if m is language or m is language.core)
        if seen not in patched:
            patched.add(seen)
            patch(kernel)
        return interpreter._LangPatchScope()

    interpreter._patch_lang = once


if os.environ.get("TRITON_INTERPRET"):
    _keep_the_language_interpreted()


@pytest.fixture
def device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture(autouse=True)
def _inference() -> Iterator[None]:
    with torch.inference_mode():
        yield
