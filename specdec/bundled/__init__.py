"""A small trained pair that ships with the package, so that everything works offline.

Contract: `path("target")` and `path("draft")` are folders that Transformers loads as they are (Llama, bfloat16, one
tokenizer for both, with a chat template that knows tools). What the pair can and cannot do stands in
`target/README.md`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

_HERE = Path(__file__).resolve().parent


def path(name: Literal["target", "draft"]) -> Path:
    """The folder of one of the two models."""
    if name not in {"target", "draft"}:
        raise ValueError(f"the bundled pair is 'target' and 'draft', not {name!r}")
    return _HERE / name
