"""Checks that many values share: a refusal names the field, the value and what would be right."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from specdec.errors import InvalidRequest

Bounds = tuple[tuple[Any, ...], float, float, str]
"""The types of a number, its lowest and its highest value, and what would be right, in words."""
NUMBER, WHOLE = (int, float), (int,)


def check(numbers: Iterable[tuple[str, Any, Bounds]]) -> None:
    """Refuse the first number, by its name, that is not within its bounds."""
    for name, value, (kind, low, high, expected) in numbers:
        # comparing is safe where converting is not: nan is in no range, and an int may be too large for a float
        if isinstance(value, bool) or not isinstance(value, kind) or not low <= value <= high:
            raise InvalidRequest(name, value, expected)


def freeze(owner: object, collections: Mapping[str, tuple[Callable[[Any], object], str]]) -> None:
    """Take copies of the collections in these fields, so that the caller's later changes do not reach them; None is
    empty."""
    for name, (kind, expected) in collections.items():
        value = getattr(owner, name)
        try:
            object.__setattr__(owner, name, kind(() if value is None else value))
        except (TypeError, ValueError):
            raise InvalidRequest(name, value, expected) from None
