"""What is measured: our engine in its modes."""

from __future__ import annotations

from typing import Any

from specdec.bench.prompts import BenchPrompt
from specdec.bench.timing import System
from specdec.engine import Engine
from specdec.types import Completion, Request, Speculative

_COLD = "Something else."
"""Answered, untimed, before each timed answer, so that no prompt is found in the one slot's cache."""


def make_request(engine: Engine, prompt: BenchPrompt, max_tokens: int, **options: Any) -> Request:
    """The prompt as a request to this engine."""
    chat = engine.info.chat_template
    tools = prompt.tools if chat else ()
    return Request.of(prompt.content(chat), tools=tools, max_tokens=max_tokens, **options)


def ours(engine: Engine, request: Request) -> System:
    """One timed answer of an engine with a single slot."""

    def answer() -> Completion:
        engine.generate(_COLD, max_tokens=1, speculative=request.speculative)
        return engine.generate(request)

    return answer


def warm_up(engine: Engine, prompt: BenchPrompt, speculative: Speculative) -> None:
    """A short untimed answer, for what happens only the first time."""
    engine.generate(make_request(engine, prompt, 24, temperature=0.0, speculative=speculative))
