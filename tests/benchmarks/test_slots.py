"""What the host does for a token does not grow with the number of requests. Counted, not timed."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("triton", reason="Triton is on Linux alone")

from benchmarks.slots import calls_of, write_tiny
from specdec.types import Speculative


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("tiny"))


@pytest.mark.parametrize(("draft", "most"), [("off", 28), ("auto", 62)])
def test_calls_for_a_token_among_sixteen_on_the_device(tiny: Path, draft: Speculative, most: float) -> None:
    """Before rounds were counted, planned and shaped for all rows together they were 31 and 72."""
    work = calls_of(tiny, 16, draft, 0.8, on_device=True)
    assert 10 < work.token < most
    assert 50 < work.request < 125  # before those who wait were ordered once for all free slots it was 150
