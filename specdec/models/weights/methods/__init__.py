"""How other programs write quantised weights down: one reader for each `quant_method`, from its tensors to ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from specdec.models.weights.methods import awq, compressed_tensors, fp8, gptq, mxfp4
from specdec.models.weights.methods.base import Method

METHODS: dict[str, Callable[[Mapping[str, Any]], Method | None]] = {
    "awq": awq.reader,
    "compressed-tensors": compressed_tensors.reader,
    "fp8": fp8.reader,
    "gptq": gptq.reader,
    "mxfp4": mxfp4.reader,
}
"""From what a config says to what reads its weights; None for a variety that is not read here."""


def reader(values: Mapping[str, Any]) -> Method | None:
    """What reads the weights of a checkpoint with this quantization_config, or None."""
    find = METHODS.get(str(values.get("quant_method")))
    return find and find(values)
