"""The GPU's benchmark at sizes that a CPU can bear."""

from __future__ import annotations

import pytest

from benchmarks import gpu, quantized


def test_it_measures_and_every_text_is_the_plain_one(capsys: pytest.CaptureFixture[str]) -> None:
    asked = "--sizes tiny --device cpu --dtype float32 --prompts 1 --tokens 10 --lengths 2 --no-peers"
    facts = gpu.run(gpu.parsed(asked.split()))
    assert facts["target"]["equal"] > 0.98
    assert facts["draft"]["equal"] > 0.95
    rows = {(row["system"], row["temperature"]): row for row in facts["rows"]}
    assert {row["same_text"] for row in rows.values()} == {None, True}
    assert rows["speculative, k=2", 0.0]["acceptance_length"] > 1.2
    assert "plain decoding is" in capsys.readouterr().out


@pytest.mark.slow
def test_formats_beside_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    asked = "--sizes tiny --device cpu --formats int8 --prompt 40"
    plain, eight = quantized.run(quantized.parsed(asked.split()))
    assert (plain["format"], eight["format"]) == ("float32", "float32")  # on a CPU they become plain again
    assert "weights in" in capsys.readouterr().out
