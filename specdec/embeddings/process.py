"""An encoder in a process of its own: a server that answers with a target must not be slowed by it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from specdec.embeddings.base import Embedded, TextKind
from specdec.embeddings.loading import shared_embedder
from specdec.errors import EngineClosed, EngineFailed


class ProcessEmbedder:
    """As LocalEmbedder. The process starts, and loads, when it is first asked; one that dies is started again by the
    next call."""

    def __init__(self, model: str, device: str = "auto") -> None:
        self.model, self._device = model, device
        self._lock = threading.Lock()
        self._process: ProcessPoolExecutor | None = None
        self._closed = False

    def embed(self, texts: Sequence[str], kind: TextKind = "document", dimensions: int | None = None) -> Embedded:
        with self._lock:
            if self._closed:
                raise EngineClosed("the encoder was closed; load a new one")
            if self._process is None:
                spawn = multiprocessing.get_context("spawn")
                self._process = ProcessPoolExecutor(1, spawn, initializer=_begin)
            process = self._process
        try:
            return process.submit(_embed, self.model, self._device, tuple(texts), kind, dimensions).result()
        except BrokenProcessPool as error:
            with self._lock:
                self._process = None if self._process is process else self._process
            raise EngineFailed("the encoder's process died") from error

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._process:
                self._process.shutdown(cancel_futures=True)
            self._process = None


def _begin() -> None:
    """In the child: Ctrl-C is the parent's to act on, and a parent that is gone is followed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()


def _embed(model: str, device: str, texts: Sequence[str], kind: TextKind, dimensions: int | None) -> Embedded:
    return shared_embedder(model, device=device).embed(texts, kind, dimensions)
