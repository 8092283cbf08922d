"""The prompts of the checks, and plain answers to compare with."""

from __future__ import annotations

from typing import Any

from specdec.engine import Engine
from specdec.types import Completion, Message, Prompt, Request

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


class Cases:
    """Requests to one engine, and its plain answers, each computed once."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.prompts: tuple[Prompt, ...] = tuple(self._prompt(text) for text in PROMPTS)
        self._plain: dict[tuple[int, float, int | None], Completion] = {}

    def request(self, prompt: int, **options: Any) -> Request:
        """A request for the prompt of that number."""
        return Request.of(self.prompts[prompt], **{"max_tokens": LENGTH, **options})

    def answer(self, prompt: int, **options: Any) -> Completion:
        """The engine's answer to it."""
        return self.engine.generate(self.request(prompt, **options))

    def plain(self, prompt: int, temperature: float = 0.0, seed: int | None = None) -> Completion:
        """The target's own answer."""
        key = (prompt, temperature, seed)
        if key not in self._plain:
            self._plain[key] = self.answer(prompt, temperature=temperature, seed=seed, speculative="off")
        return self._plain[key]

    def _prompt(self, text: str) -> Prompt:
        return (Message("user", text),) if self.engine.info.chat_template else text
