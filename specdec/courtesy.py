"""A byte that a process shares with the engines it starts: up while its event loop has work.

Threads of one product wait for each other, awake. Where they take every core, whatever else runs on one of them for a
moment stops them all, for longer than that moment. So an engine that has no core to spare lends one as long as the
byte is up (`specdec.threads.cores`).
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
import weakref
from mmap import mmap
from selectors import DefaultSelector, SelectorKey
from tempfile import TemporaryFile

_NOTICE = 0.0003
"""Seconds; a product that is under way has ended by then. Stopped in the middle it would stop all threads."""
_watched: mmap | None = None


class Courtesy:
    """The byte, with the process whose loop it speaks of. On Windows no other process hears of it."""

    def __init__(self) -> None:
        self._file = _file()
        weakref.finalize(self, os.close, self._file)
        os.write(self._file, b"\0")
        self._byte = mmap(self._file, 1)

    @property
    def inherited(self) -> tuple[int, ...]:
        """File descriptors for a child, which hands the one to `watch`."""
        return () if sys.platform == "win32" else (self._file,)

    def ask(self, wanted: bool) -> None:
        self._byte[0] = wanted

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        """A loop whose work puts the byte up."""
        return (
            asyncio.new_event_loop()
            if sys.platform == "win32"
            else asyncio.SelectorEventLoop(_Selector(self))
        )


def _file() -> int:
    """Its descriptor; in memory where the system has that, for a disk may be full."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("specdec-courtesy")
    with TemporaryFile() as file:
        return os.dup(file.fileno())


class _Selector(DefaultSelector):
    """Where a loop waits: everything else it does is work."""

    def __init__(self, courtesy: Courtesy) -> None:
        super().__init__()
        self._courtesy = courtesy

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        waits = timeout is None or timeout > 0  # else there is more to do
        if waits:
            self._courtesy.ask(False)
        try:
            return super().select(timeout)
        finally:
            self._courtesy.ask(True)
            if waits:
                time.sleep(_NOTICE)

    def close(self) -> None:
        self._courtesy.ask(False)
        super().close()


def watch(descriptor: int) -> None:
    """From here on this process is courteous to the byte's owner."""
    global _watched  # noqa: PLW0603  (a process has one parent)
    _watched = mmap(descriptor, 1)
    os.close(descriptor)


def watching() -> bool:
    """Whether there is anyone to be courteous to."""
    return _watched is not None


def wanted() -> bool:
    """Whether the byte's owner wants a core now."""
    return _watched is not None and _watched[0] != 0
