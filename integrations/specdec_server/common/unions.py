"""Which of a body's errors to tell.

Pydantic tries every arm of a union and tells what is wrong with each: an image among the parts of a message is first
of all no text. What helps is the arm that got furthest; where several got equally far, any of them would be right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_KINDS = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
}
"""What would be right where a value is of another kind."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a body; `place` as in messages.0.content, empty where it is the body itself."""

    kind: str
    place: str
    message: str


@dataclass(frozen=True, slots=True)
class _Error:
    """One of pydantic's, and which parts of its location are not in the body: they name arms of unions."""

    location: tuple[int | str, ...]
    arms: tuple[int, ...]
    kind: str
    message: str
    expected: str | None
    """Set where another kind of value would be right."""

    @property
    def place(self) -> list[int | str]:
        return [part for at, part in enumerate(self.location) if at not in self.arms]

    @property
    def reach(self) -> tuple[list[int], int]:
        """How far its arm got: into which items of lists, then how deep."""
        place = self.place
        return [part for part in place if isinstance(part, int)], len(place)


def fault(errors: Sequence[Mapping[str, Any]], body: Any) -> Fault:
    """The error to tell of all that pydantic found in `body`."""
    found = _furthest([_read(error, body) for error in errors])
    first = next((error for error in found if error.expected is None), found[0])
    wanted = dict.fromkeys(error.expected for error in found if error.expected and error.place == first.place)
    message = f"Input should be {' or '.join(wanted)}" if first.expected else first.message
    names = [str(part) for part in first.place if isinstance(part, int) or part.isidentifier()]
    return Fault(first.kind, ".".join(names), message)


def _read(error: Mapping[str, Any], body: Any) -> _Error:
    kind, location = error["type"], tuple(error["loc"][1:])
    arms = []
    for at, part in enumerate(location):
        if part in (range(len(body)) if isinstance(body, list) else body if isinstance(body, dict) else ()):
            body = body[part]
        elif kind != "missing" or at < len(location) - 1:
            arms.append(at)
    expected = error["ctx"]["expected"] if kind == "literal_error" else _KINDS.get(kind)
    return _Error(location, tuple(arms), kind, error["msg"], expected)


def _furthest(errors: Sequence[_Error], depth: int = 0) -> list[_Error]:
    """The first error; where it is of a union, the first of each arm that got furthest. `depth`: how much of their
    location the errors share."""
    first = errors[0]
    at = next((arm for arm in first.arms if arm >= depth), None)
    if at is None:
        return [first]
    arms: dict[object, list[_Error]] = {}
    for error in errors:
        if error.location[:at] == first.location[:at]:
            arms.setdefault(error.location[at : at + 1], []).append(error)
    best = [error for arm in arms.values() for error in _furthest(arm, at + 1)]
    reach = max(error.reach for error in best)
    return [error for error in best if error.reach == reach]
