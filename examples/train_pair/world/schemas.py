"""JSON objects with their schemas: known everyday ones and endless invented ones.

Contract: `shape(rng)` gives a `Shape`; `fill` draws arguments that are valid under `Shape.schema()`; every string
value is one that a request can name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from . import words as w
from .sample import Json

Draw = Callable[[Random], object]


@dataclass(frozen=True)
class Slot:
    """One property: its JSON type, how to draw it, and how to say it in words."""

    name: str
    type: str
    draw: Draw
    about: str
    options: tuple[str, ...] = ()
    required: bool = True

    def schema(self) -> Json:
        """The property's own JSON schema."""
        if self.type == "array":
            return {"type": "array", "items": {"type": "string"}, "description": self.about}
        body: Json = {"type": self.type, "description": self.about}
        return body | {"enum": list(self.options)} if self.options else body


@dataclass(frozen=True)
class Shape:
    """The properties of one object."""

    slots: tuple[Slot, ...]

    def schema(self) -> Json:
        """The object's JSON schema."""
        return {
            "type": "object",
            "properties": {s.name: s.schema() for s in self.slots},
            "required": [s.name for s in self.slots if s.required],
        }


def enum(name: str, about: str, *options: str, required: bool = True) -> Slot:
    """A property with a few allowed values."""
    return Slot(name, "string", lambda rng: rng.choice(options), about, options, required)


def text(name: str, about: str, draw: Draw, required: bool = True) -> Slot:
    """A string property."""
    return Slot(name, "string", draw, about, (), required)


def whole(name: str, about: str, low: int, high: int, required: bool = True) -> Slot:
    """A whole number."""
    return Slot(name, "integer", lambda rng: rng.randrange(low, high), about, (), required)


def decimal(name: str, about: str) -> Slot:
    """A number with a fraction."""
    return Slot(name, "number", lambda rng: rng.randrange(1, 2000) / rng.choice((2, 4, 10)), about)


def yes_no(name: str, about: str, required: bool = True) -> Slot:
    """True or false."""
    return Slot(name, "boolean", lambda rng: rng.random() < 0.5, about, (), required)


def some(name: str, about: str, bank: tuple[str, ...]) -> Slot:
    """A few strings."""
    return Slot(name, "array", lambda rng: rng.sample(bank, rng.randrange(1, 4)), about)


_ADJ = ("max", "min", "new", "old", "first", "last", "main", "total", "target", "extra", "short", "local")
_NOUN = ("size", "level", "count", "weight", "code", "label", "group", "zone", "mode", "speed", "depth", "title", "owner", "color", "topic", "unit", "length", "batch", "rank", "theme", "status", "score", "range", "phase")  # fmt: skip
_PLAIN = ("x", "y", "n", "a", "b", "input", "value", "number", "text", "data", "item", "key", "name", "id")


def invented_slot(rng: Random, taken: set[str]) -> Slot:
    """A property nobody has seen, with a name that reads like one."""
    while True:
        name = rng.choice(_NOUN) if rng.random() < 0.5 else f"{rng.choice(_ADJ)}_{rng.choice(_NOUN)}"
        name = rng.choice((w.invented(rng), rng.choice(_PLAIN))) if rng.random() < 0.25 else name
        if name not in taken:
            break
    about = f"The {name.replace('_', ' ')}"
    kind = rng.random()
    if kind < 0.2:
        options = tuple(rng.sample(w.COLOURS + w.TRAITS, rng.randrange(2, 5)))
        return enum(name, about, *options)
    if kind < 0.45:
        return whole(name, about, 1, rng.choice((10, 100, 5000)))
    if kind < 0.52:
        return decimal(name, about)
    if kind < 0.62:
        return yes_no(name, f"Whether to use the {name.replace('_', ' ')}")
    return text(name, about, rng.choice((w.name, w.full_name, w.code, w.city, w.place, w.invented, w.foreign, lambda r: r.choice(w.THINGS))))


def invented_shape(rng: Random, most: int = 4) -> Shape:
    """One to `most` invented properties."""
    slots: list[Slot] = []
    for _ in range(rng.randrange(1, most + 1)):
        slots.append(invented_slot(rng, {s.name for s in slots}))
    return Shape(tuple(slots))


def fill(rng: Random, shape: Shape) -> Json:
    """Valid arguments: all that are required, and some of the rest."""
    return {s.name: s.draw(rng) for s in shape.slots if s.required or rng.random() < 0.4}


def spoken(value: object) -> str:
    """A value the way a person writes it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value)


def valid(value: object, schema: Json) -> bool:
    """Whether a value fits the small part of JSON schema that this world uses."""
    kinds: dict[str, tuple[type, ...]] = {"object": (dict,), "array": (list,), "string": (str,), "integer": (int,), "number": (int, float), "boolean": (bool,)}
    kind = schema["type"]
    if not isinstance(value, kinds[kind]) or (isinstance(value, bool) and kind != "boolean"):
        return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    if isinstance(value, list):
        return all(valid(v, schema["items"]) for v in value)
    if isinstance(value, dict):
        known = schema["properties"]
        return set(schema["required"]) <= set(value) <= set(known) and all(valid(v, known[k]) for k, v in value.items())
    return True
