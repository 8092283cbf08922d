"""Calls of an answer, run where the user allows it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal

from specdec.types import Message, ToolCall
from specdec_tui.core.tools import Toolbox

Verdict = Literal["once", "always", "no", "never"]


class CallRunner:
    """`ask` shows a call and returns what the user says of it."""

    def __init__(self, toolbox: Toolbox, ask: Callable[[ToolCall], Awaitable[Verdict]]) -> None:
        self._toolbox, self._ask = toolbox, ask
        self._settled: dict[str, Verdict] = {}
        """Said once for all calls of a tool."""
        self._task: asyncio.Task[list[str]] | None = None
        self._stopped = False

    @property
    def running(self) -> bool:
        """Whether calls are asked about, or run."""
        return self._task is not None and not self._task.done()

    def can_run(self, calls: Sequence[ToolCall]) -> bool:
        """Whether there are calls, and all are of our own tools."""
        return bool(calls) and all(call.name in self._toolbox.tools for call in calls)

    async def run(self, calls: Sequence[ToolCall]) -> tuple[list[Message], bool]:
        """A result for each call, those allowed run at once; and whether the user stopped them."""
        self._stopped = False
        self._task = asyncio.create_task(self._results(calls))
        try:
            results = await self._task
        except asyncio.CancelledError:
            if not self._stopped:  # the app is leaving
                raise
            results = ["stopped by the user"] * len(calls)
        pairs = zip(calls, results, strict=True)
        return [Message("tool", text, name=call.name, tool_call_id=call.id) for call, text in pairs], self._stopped

    def stop(self) -> None:
        """Nothing more is run."""
        if self._task and self.running:
            self._stopped = True
            self._task.cancel()

    async def _results(self, calls: Sequence[ToolCall]) -> list[str]:
        allowed = []
        for call in calls:
            verdict = self._settled.get(call.name) or await self._ask(call)
            if verdict in ("always", "never"):
                self._settled[call.name] = verdict
            if verdict in ("once", "always"):
                allowed.append(call)
        found = await asyncio.gather(*(self._toolbox.call(call.name, call.arguments) for call in allowed))
        results = {id(call): text for call, text in zip(allowed, found, strict=True)}
        return [results.get(id(call), "the user does not allow this call") for call in calls]
