"""The figures of serving come out of one run, whatever they say on a busy machine."""

from __future__ import annotations

import math

import pytest

from specdec.bench import serving
from specdec.bench.prompts import built_in
from specdec.bench.serving import Serving
from specdec.types import LoadOptions


def test_every_figure_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "_TURNS", 4)
    monkeypatch.setattr(serving, "_MANY", 2)
    options = LoadOptions(slots=1, prefix_cache_bytes=0, remember=0)
    stages: list[str] = []
    figures = list(Serving(options, built_in(["story"]), 8, 1, lambda stage, _: stages.append(stage)).figures())
    assert [figure.name for figure in figures] == [
        "2 off / 1 off, total tokens/s",
        "2 auto / 1 off, total tokens/s",
        "2 auto / 1 auto, total tokens/s",
        "cancel to free slot, ms beyond a round",
        "TTFT of turn 4 / the same cold",
        "repeated answers, memory / none",
        "ProcessEngine's overhead",
        "events late, ms (median)",
    ]
    assert stages[0] == "2 requests at once" and len(stages) == 5
    assert all(math.isfinite(figure.value) for figure in figures)
    late = figures[-1]
    assert late.value > 0
    assert "tokens cached" in figures[4].detail
