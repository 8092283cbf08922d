"""Texts as vectors, for retrieval beside a target model, so that a query engine needs no second server.

base       what an embedder is
local      an encoder in this process: any that sentence-transformers loads
process    the same in a process of its own
remote     a server's /v1/embeddings
loading    one of these by name, shared by all who name the same
"""

from __future__ import annotations

from specdec.embeddings.base import Embedded as Embedded
from specdec.embeddings.base import Embedder as Embedder
from specdec.embeddings.base import TextKind as TextKind
from specdec.embeddings.loading import shared_embedder as shared_embedder
