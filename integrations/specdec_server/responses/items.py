"""The items of a response's output while they are written: each knows the events that tell a client about it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from specdec_server.responses.wire import (
    OutputCall,
    OutputItem,
    OutputMessage,
    OutputReasoning,
    OutputText,
    ReasoningText,
)

Told = tuple[str, dict[str, Any]]
"""The name of an event, and its fields."""


class OpenItem(Protocol):
    """An item that more may be added to."""

    @property
    def item(self) -> OutputItem: ...

    def begin(self) -> Iterator[Told]: ...

    def add(self, text: str) -> Iterator[Told]: ...

    def close(self) -> Iterator[Told]: ...


class OpenText:
    """An item that is one part of text: the answer, or what the model thinks before it."""

    def __init__(self, item: OutputMessage | OutputReasoning, part: OutputText | ReasoningText) -> None:
        self.item, self._part = item, part
        self._where: dict[str, Any] = {"item_id": item.id, "content_index": 0}
        self._extra: dict[str, Any] = {"logprobs": []} if item.type == "message" else {}

    def begin(self) -> Iterator[Told]:
        yield "response.output_item.added", {"item": self.item.model_copy()}
        yield "response.content_part.added", self._where | {"part": self._part.model_copy()}

    def add(self, text: str) -> Iterator[Told]:
        self._part.text += text
        yield f"response.{self._part.type}.delta", self._where | {"delta": text} | self._extra

    def close(self) -> Iterator[Told]:
        self.item = self.item.model_copy(update={"content": [self._part], "status": "completed"})
        yield f"response.{self._part.type}.done", self._where | {"text": self._part.text} | self._extra
        yield "response.content_part.done", self._where | {"part": self._part}
        yield "response.output_item.done", {"item": self.item}


def open_message(name: str) -> OpenText:
    item = OutputMessage(type="message", id=f"msg_{name}", role="assistant", status="in_progress", content=[])
    return OpenText(item, OutputText(type="output_text", text="", annotations=[]))


def open_reasoning(name: str) -> OpenText:
    item = OutputReasoning(type="reasoning", id=f"rs_{name}", summary=[], content=[], status="in_progress")
    return OpenText(item, ReasoningText(type="reasoning_text", text=""))


class OpenCall:
    """A call of a function."""

    def __init__(self, name: str, call_id: str, function: str) -> None:
        self.item = OutputCall(
            type="function_call", id=f"fc_{name}", call_id=call_id, name=function, arguments="", status="in_progress"
        )  # fmt: skip

    def begin(self) -> Iterator[Told]:
        yield "response.output_item.added", {"item": self.item.model_copy()}

    def add(self, text: str) -> Iterator[Told]:
        self.item.arguments += text
        yield "response.function_call_arguments.delta", {"item_id": self.item.id, "delta": text}

    def close(self) -> Iterator[Told]:
        self.item.status = "completed"
        told = {"item_id": self.item.id, "name": self.item.name, "arguments": self.item.arguments}
        yield "response.function_call_arguments.done", told
        yield "response.output_item.done", {"item": self.item}
