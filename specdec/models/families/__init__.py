"""The families of models that are described here, each in a module of its own. Nothing else knows one from another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from specdec.models.families import llama
from specdec.models.families.base import ModelFamily

FAMILIES: dict[str, Callable[[Any], ModelFamily | None]] = {
    "llama": llama.describe,
    "mistral": llama.describe,
    "qwen2": llama.describe,
    "qwen3": llama.describe,
}
"""By the model_type of a config: what describes it, or gives None for a config that it does not cover."""


def describe(config: Any) -> ModelFamily | None:
    """The family of a model; None where transformers has to run it."""
    found = FAMILIES.get(config.model_type)
    return None if found is None else found(config)
