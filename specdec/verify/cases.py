"""The prompts of the checks, and plain answers to compare with."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from specdec.engine import Engine
from specdec.types import Completion, Message, Prompt, Request, Speculative

PROMPTS = (
    "Tell me a story about a girl called Nora who looks for her lost red kite.",
    (
        "Copy this text word for word:\n\nThe ferry leaves the north pier at 9:40 and comes back at 17:15. "
        "The ferry does not run on Mondays."
    ),
    'Write the numbers one to six as a JSON list of objects with "number" and "word".',
)
LENGTH = 64
"""Tokens of an answer."""
WIDTHS: tuple[Speculative, ...] = ("auto", 1, 3, 8)
FORCED: Speculative = 8
"""Drafted tokens a round where answers end inside an accepted run."""


@dataclass(frozen=True, slots=True)
class Abilities:
    """What can be asked of an engine: all of it, unless it is a server that takes less."""

    switch: bool = True
    """Speculation off, and numbers of drafted tokens."""
    prediction: bool = True


class Cases:
    """Requests to one engine, and plain answers to compare with, each computed once.

    `plain`: another engine that has the same target and does not speculate, for one that cannot be switched off.
    """

    def __init__(self, engine: Engine, plain: Engine | None = None, abilities: Abilities = Abilities()) -> None:
        self.engine, self.abilities = engine, abilities
        self.plain_engine = plain or engine
        self.plain_mode: Speculative = "off" if abilities.switch and plain is None else "auto"
        self.forced: Speculative = FORCED if abilities.switch else "auto"
        self.mixture: tuple[Speculative, ...] = ("off", "auto", 3) if abilities.switch else ("auto",) * 3
        self.widths: tuple[Speculative, ...] = WIDTHS if abilities.switch else ("auto",)
        chat = engine.info.chat_template
        self.prompts: tuple[Prompt, ...] = tuple((Message("user", text),) if chat else text for text in PROMPTS)
        self._plain: dict[tuple[int, float, int | None], Completion] = {}
        self._heard: Callable[[int], None] = lambda answers: None
        self._answers = 0
        self._lock = threading.Lock()

    @property
    def comparable(self) -> bool:
        """Whether plain answers can be had at all."""
        return self.abilities.switch or self.plain_engine is not self.engine

    def request(self, prompt: int, **options: Any) -> Request:
        """A request for the prompt of that number."""
        return Request.of(self.prompts[prompt], **{"max_tokens": LENGTH, **options})

    def listen(self, heard: Callable[[int], None]) -> None:
        """Tell from here on, after each answer, how many there were."""
        self._heard, self._answers = heard, 0
        heard(0)

    def ask(self, engine: Engine, request: Request) -> Completion:
        answer = engine.generate(request)
        with self._lock:  # several may ask at once
            self._answers += 1
            self._heard(self._answers)
        return answer

    def answer(self, prompt: int, **options: Any) -> Completion:
        """The engine's answer to the prompt of that number."""
        return self.ask(self.engine, self.request(prompt, **options))

    def plain(self, prompt: int, temperature: float = 0.0, seed: int | None = None) -> Completion:
        """The target's own answer."""
        key = (prompt, temperature, seed)
        if key not in self._plain:
            request = self.request(prompt, temperature=temperature, seed=seed, speculative=self.plain_mode)
            self._plain[key] = self.ask(self.plain_engine, request)
        return self._plain[key]
