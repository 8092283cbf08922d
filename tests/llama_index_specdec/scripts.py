"""An engine that answers its requests one after another, each with its own script."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llama_index.llms.specdec import SpecDec
from specdec.types import GenerationEvent, Message, Request
from tests.fakes import ScriptedEngine


def chat_of(llm: SpecDec) -> list[Message]:
    """The turns that the engine was given last."""
    assert isinstance(llm.engine, ScriptedEngine)
    return [turn for turn in llm.engine.requests[-1].prompt if isinstance(turn, Message)]


class SeveralScripts(ScriptedEngine):
    """The first request gets the first script, and so on."""

    def __init__(self, *scripts: str | Sequence[str], **options: Any) -> None:
        super().__init__(**options)
        self._scripts = iter([s] if isinstance(s, str) else s for s in scripts)

    def _admit(self, request: Request) -> tuple[Request, list[GenerationEvent]]:
        self.script = self.speculative_script = next(self._scripts)
        return super()._admit(request)
