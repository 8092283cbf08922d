"""Answers as JSON objects."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from specdec.types import Completion, EngineInfo


def completion_json(completion: Completion) -> dict[str, Any]:
    """The whole completion, with the figures that it derives."""
    stats = completion.stats
    value = asdict(completion)
    value["tokens_per_second"] = completion.tokens_per_second
    value["stats"] |= {
        "drafted": stats.drafted,
        "accepted": stats.accepted,
        "acceptance_rate": stats.acceptance_rate,
        "acceptance_length": stats.acceptance_length,
        "acceptance_per_position": stats.acceptance_per_position,
    }
    return value


def info_json(info: EngineInfo) -> dict[str, Any]:
    """What the engine is made of."""
    return asdict(info)


def print_json(value: object) -> None:
    """One object, in plain ASCII so that every reader takes it; bytes as numbers."""
    print(json.dumps(value, indent=2, default=list))  # noqa: T201
