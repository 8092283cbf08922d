"""What answers of chat completions and completions share: who made them, for whom, and the figures at their end."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from specdec import __version__
from specdec.types import GenerationEvent
from specdec_server.common.base import Sent, as_json, data
from specdec_server.common.figures import Metrics, Tally, Timings, UsageBody, figures
from specdec_server.errors import Refusal

FINGERPRINT = f"specdec-{__version__}"


@dataclass(frozen=True, slots=True)
class Form:
    """How one client wants its answer."""

    id: str
    model: str
    logprobs: bool = False
    token_ids: bool = False
    usage: bool = False
    """A usage chunk at the end of a stream."""
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def head(self) -> dict[str, Any]:
        """The fields that every part of the answer begins with."""
        return {
            "id": self.id,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": FINGERPRINT,
        }


class Answer(Sent):
    """An answer or a part of it."""

    id: str
    created: int
    model: str
    system_fingerprint: str
    usage: UsageBody | None = None
    timings: Timings | None = None
    metrics: Metrics | None = None

    def add_figures(self, tallies: Sequence[Tally]) -> None:
        total = figures(tallies)
        self.usage, self.timings, self.metrics = total.usage, total.timings, total.metrics


class ChunkStream(ABC):
    """Makes the data of one streamed answer: chunks, then [DONE].

    The figures come with the last chunk: OpenAI's own without choices, if usage was asked for; else the one that says
    why the last choice ended, without usage.
    """

    def __init__(self, form: Form, tallies: Sequence[Tally]) -> None:
        self._form, self._tallies = form, tallies

    @abstractmethod
    def on(self, index: int, event: GenerationEvent) -> Iterator[str]: ...

    @abstractmethod
    def _chunk(self, choices: list[Any]) -> Answer: ...

    def end(self) -> Iterator[str]:
        if self._form.usage:
            chunk = self._chunk([])
            chunk.add_figures(self._tallies)
            yield data(as_json(chunk))
        yield data("[DONE]")

    def failed(self, refusal: Refusal) -> Iterator[str]:
        yield data(refusal.json())
        yield data("[DONE]")

    def _sent(self, choice: Any, *, finished: bool) -> str:
        chunk = self._chunk([choice])
        if self._form.usage:
            chunk.usage = None
        elif finished and all(t.last for t in self._tallies):
            total = figures(self._tallies)
            chunk.timings, chunk.metrics = total.timings, total.metrics
        return data(as_json(chunk))
