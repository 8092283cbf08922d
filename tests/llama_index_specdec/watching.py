"""What the framework's instrumentation hears."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events import BaseEvent
from llama_index_instrumentation import get_dispatcher


class Heard(BaseEventHandler):
    """Keeps the names of all events."""

    names: list[str] = []  # noqa: RUF012  a field of a pydantic model

    @classmethod
    def class_name(cls) -> str:
        return "Heard"

    def handle(self, event: BaseEvent, **_: object) -> None:
        self.names.append(event.class_name())


@contextmanager
def hearing() -> Iterator[list[str]]:
    """The names of the events that are sent meanwhile."""
    root, handler = get_dispatcher(), Heard()
    root.add_event_handler(handler)
    try:
        yield handler.names
    finally:
        root.event_handlers.remove(handler)
