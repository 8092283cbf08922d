"""How other programs write quantised weights down: one reader for each `quant_method`, from its tensors to ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from specdec.errors import CheckpointCorrupt
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
    """What reads the weights of a checkpoint with this quantization_config, or None. Raises CheckpointCorrupt."""
    name = str(values.get("quant_method"))
    find = METHODS.get(name)
    try:
        return find and find(values)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise CheckpointCorrupt(f"a quantization_config of {name} does not make sense: {error}") from error
