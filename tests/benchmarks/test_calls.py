"""What one streamed answer asks of our own Python. Counted, not timed."""

from __future__ import annotations

import asyncio
import sys
import threading

import pytest

import specdec_server  # noqa: F401  (a profile makes importing slow)
from benchmarks import calls


@pytest.mark.parametrize(("draft", "most"), [("none", 260), ("auto", 346)])
def test_calls_of_one_streamed_completion(draft: str, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """They were 254 and 340; before the house was rebuilt 456 and 715."""
    monkeypatch.setattr(calls, "WARM", 1)
    monkeypatch.setattr(calls, "COUNTED", 2)
    profile = calls.Profile()
    before = sys.getprofile(), threading.getprofile()
    sys.setprofile(profile)
    threading.setprofile(profile)
    try:
        found = asyncio.run(calls.count(profile, draft))
    finally:
        sys.setprofile(before[0])
        threading.setprofile(before[1])
    assert most / 2 < min(map(calls.size, found)) <= most
