"""An embedder by name. Importing this does not import torch."""

from __future__ import annotations

import os
import threading

from specdec.embeddings.base import Embedder

_embedders: dict[tuple[int, str, str | None, str | None, str], Embedder] = {}
_lock = threading.Lock()


def shared_embedder(
    model: str, base_url: str | None = None, api_key: str | None = None, device: str = "auto"
) -> Embedder:
    """The process's embedder for this model, loaded when first asked for: an encoder of this process, or a server's
    where there is a `base_url`. May be called from any thread. Raises LoadError."""
    key = os.getpid(), model, base_url, api_key, device  # a forked child loads its own
    with _lock:
        if key in _embedders:
            return _embedders[key]
        if base_url is not None:
            from specdec.embeddings.remote import RemoteEmbedder

            return _embedders.setdefault(key, RemoteEmbedder(base_url, model, api_key))
        from specdec.embeddings.local import LocalEmbedder

        return _embedders.setdefault(key, LocalEmbedder(model, device))
