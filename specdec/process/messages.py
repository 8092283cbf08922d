"""What crosses the pipes between a ProcessEngine and its child.

To the child go pickled pairs (number, pickled call); number tells requests apart. From the child come pickled lists
of (number, reply): everything that gathered since the last list, so that a parent that lags gets few long lists and
the child never waits for an answer. Number `ENGINE` speaks of the engine itself.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum, auto
from operator import attrgetter
from typing import Any, Protocol

from specdec import types
from specdec.engine import Engine, Progress
from specdec.process.errors import PortableError
from specdec.types import EngineInfo, EngineStats, GenerationEvent, Request

ENGINE = 0
HEARTBEAT = 1.0
"""Seconds between two words of a child that has nothing else to say."""


class Factory(Protocol):
    """Makes the engine in the child. Has to be importable there, not defined in `__main__`."""

    def __call__(self, *, progress: Progress) -> Engine: ...


class Order(Enum):
    """What the parent asks besides requests."""

    CANCEL = auto()
    STATS = auto()


@dataclass(frozen=True, slots=True)
class Stage:
    """How far loading has come."""

    name: str
    fraction: float


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The child lives; `down` is what its engine says of itself."""

    down: str | None


@dataclass(frozen=True, slots=True)
class Tokenize:
    """Asks for the tokens that a request's prompt becomes."""

    request: Request


Call = Request | Order | Tokenize
Reply = GenerationEvent | PortableError | EngineStats | EngineInfo | Stage | Heartbeat | tuple[int, ...]
"""The first reply to a request is an error, if it is refused, or an empty GenerationEvent: it was admitted."""
Batch = list[tuple[int, Reply]]


def is_last(reply: Reply) -> bool:
    """Whether no more replies follow to the same number."""
    if isinstance(reply, GenerationEvent):
        return reply.end is not None
    return not isinstance(reply, Stage | Heartbeat)


def encode(number: int, call: Call) -> bytes:
    # The call is pickled by itself: what the child cannot read fails that request and nothing else.
    return pickle.dumps((number, pickle.dumps(call)))


def encode_batch(batch: Batch) -> bytes:
    buffer = io.BytesIO()
    pickler = pickle.Pickler(buffer, pickle.HIGHEST_PROTOCOL)
    pickler.dispatch_table = _REDUCERS
    pickler.dump(batch)
    return buffer.getvalue()


def _by_fields(kind: type[Any]) -> Callable[[Any], tuple[type[Any], tuple[Any, ...]]]:
    names = [f.name for f in fields(kind)]
    values = attrgetter(*names)
    if len(names) == 1:
        return lambda value: (kind, (values(value),))
    return lambda value: (kind, values(value))


# Frozen dataclasses with slots pickle through two Python functions a value; this is several times faster, and it
# is done for every round.
_REDUCERS: dict[type, Callable[[Any], Any]] = {
    kind: _by_fields(kind) for kind in vars(types).values() if isinstance(kind, type) and is_dataclass(kind)
}
