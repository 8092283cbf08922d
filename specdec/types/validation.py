"""Checks that many values share: a refusal names the field, the value and what would be right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from specdec.errors import InvalidRequest


def number(name: str, value: object, low: float, high: float, expected: str, *, open_low: bool = False) -> None:
    # comparing is safe where converting is not: nan is in no range, and an int may be too large for a float
    ok = isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
    if not ok or (open_low and value == low):
        raise InvalidRequest(name, value, expected)


def integer(name: str, value: object, low: int, high: int | None, expected: str) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < low or (high is not None and value > high):
        raise InvalidRequest(name, value, expected)


def freeze(owner: object, name: str, kind: Callable[[Any], object], expected: str) -> None:
    """Take a copy of a field's collection, so that the caller's later changes do not reach it; None is empty."""
    value = getattr(owner, name)
    try:
        object.__setattr__(owner, name, kind(() if value is None else value))
    except (TypeError, ValueError):
        raise InvalidRequest(name, value, expected) from None
