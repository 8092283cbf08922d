"""What one streamed answer asks of our own Python. Counted, not timed."""

from __future__ import annotations

import asyncio
import sys
import threading

import pytest

import specdec_server  # noqa: F401  (a profile makes importing slow)
from benchmarks import calls


def test_calls_of_one_streamed_completion(monkeypatch: pytest.MonkeyPatch) -> None:
    """They were 254; before the house was rebuilt 456. Without drafts: a draft model reads when there is time for it,
    and a busy machine then takes two rounds."""
    monkeypatch.setattr(calls, "WARM", 1)
    monkeypatch.setattr(calls, "COUNTED", 2)
    profile = calls.Profile()
    before = sys.getprofile(), threading.getprofile()
    sys.setprofile(profile)
    threading.setprofile(profile)
    try:
        found = asyncio.run(calls.count(profile, "none"))
    finally:
        sys.setprofile(before[0])
        threading.setprofile(before[1])
    assert 130 < min(map(calls.size, found)) <= 260
