"""The connection: uvicorn's, and its patience with clients that are slow on purpose or have stopped reading.

A client has `REQUEST_SECONDS` to send a request, from its first byte to its last. Once the system's and our own buffer
are full (64 KiB), it has `reader_seconds` to read most of that; then the connection is cut, and the request's slot is
freed as for any client that left. So what a slow reader can hold is bounded.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

REQUEST_SECONDS = 20.0


class PatientProtocol(H11Protocol):
    """One connection."""

    reader_seconds = 20.0
    _reading: asyncio.TimerHandle | None = None
    _asking: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._ask_soon()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is not None and not self.cycle.more_body:
            self._asked()
        else:
            self._ask_soon()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._reading = self.loop.call_later(self.reader_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._has_read()

    def connection_lost(self, exc: Exception | None) -> None:
        self._asked()
        self._has_read()
        super().connection_lost(exc)

    def _ask_soon(self) -> None:
        if self._asking is None:
            self._asking = self.loop.call_later(REQUEST_SECONDS, self.transport.abort)

    def _asked(self) -> None:
        if self._asking:
            self._asking.cancel()
            self._asking = None

    def _has_read(self) -> None:
        if self._reading:
            self._reading.cancel()
            self._reading = None
