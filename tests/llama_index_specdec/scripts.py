"""An engine that answers its requests one after another, each with its own script."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from specdec.types import GenerationEvent, Request
from tests.fakes import ScriptedEngine


class SeveralScripts(ScriptedEngine):
    """The first request gets the first script, and so on."""

    def __init__(self, *scripts: str | Sequence[str], **options: Any) -> None:
        super().__init__(**options)
        self._scripts = iter([s] if isinstance(s, str) else s for s in scripts)

    def _admit(self, request: Request) -> tuple[Request, list[GenerationEvent]]:
        self.script = self.speculative_script = next(self._scripts)
        return super()._admit(request)
