"""What all tests of the chat have in common."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def given_way(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Grows by one whenever the app would lower its thread's priority, which here is that of all tests to come."""
    times: list[None] = []
    monkeypatch.setattr("specdec_tui.app.give_way", lambda: times.append(None))
    return times
