"""One answer as it comes: its content, reasoning and calls, safe to show, and how they grew since the last look."""

from __future__ import annotations

from dataclasses import dataclass, field

from specdec.types import (
    ContentDelta,
    Delta,
    Message,
    ReasoningDelta,
    ToolCall,
    ToolCallDelta,
)


@dataclass(slots=True)
class Answer:
    """Adds up a stream's deltas."""

    content: str = ""
    reasoning: str = ""
    calls: list[ToolCall] = field(default_factory=list)

    @classmethod
    def of(cls, message: Message) -> Answer:
        """One that has come this far."""
        return cls(message.content or "", message.reasoning or "", list(message.tool_calls))

    def add(self, delta: Delta) -> None:
        if isinstance(delta, ContentDelta):
            self.content += delta.text
        elif isinstance(delta, ReasoningDelta):
            self.reasoning += delta.text
        else:
            self._call(delta)

    @property
    def message(self) -> Message:
        return Message("assistant", self.content, tool_calls=tuple(self.calls), reasoning=self.reasoning or None)

    def _call(self, delta: ToolCallDelta) -> None:
        while len(self.calls) <= delta.index:
            self.calls.append(ToolCall("", "", ""))
        old = self.calls[delta.index]
        self.calls[delta.index] = ToolCall(delta.id or old.id, delta.name or old.name, old.arguments + delta.arguments)
