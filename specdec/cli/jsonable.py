"""Answers as JSON objects."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from specdec.types import Completion


def completion_json(completion: Completion) -> dict[str, Any]:
    """The whole completion, with the figures that it derives; null is what nobody knows."""
    value = asdict(completion)
    value |= value.pop("end")
    value["finish_reason"] = value.pop("reason")
    value["tokens_per_second"] = completion.tokens_per_second or None
    value["stats"] |= completion.stats.figures()
    return value


def print_json(value: object) -> None:
    """One object, in plain ASCII so that every reader takes it; bytes as numbers."""
    print(json.dumps(value, indent=2, default=list))  # noqa: T201
