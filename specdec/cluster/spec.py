"""What a cluster is to be: our words, checked."""

from __future__ import annotations

import math
from dataclasses import dataclass

from specdec.bundled import path
from specdec.errors import InvalidRequest
from specdec.types.validation import Bounds, check

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_COUNT: Bounds = ((int,), 1, math.inf, "a whole number, 1 or more")
_PORT: Bounds = ((int,), 1, 2**16 - 1, "a whole number from 1 to 65535")
DTYPES = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True, slots=True)
class Cluster:
    """A target, what drafts for it, and how both are spread over GPUs and nodes.

    `tensor` splits each layer, `pipeline` the layers, `data` runs whole copies; together they are spread evenly over
    `nodes`, of which the first, at `head`, answers HTTP at `port`.
    """

    target: str
    draft: str = "none"
    """A folder or hub id; "lookup" in the text so far; "none"."""
    k: int = 4
    """Drafted tokens a round."""
    tensor: int = 1
    pipeline: int = 1
    data: int = 1
    nodes: int = 1
    head: str = "127.0.0.1"
    host: str = "127.0.0.1"
    """Where the first node listens for HTTP; 0.0.0.0 is everywhere."""
    port: int = 8000
    master_port: int = 29501
    """Where the nodes find one another."""
    context: int | None = None
    dtype: str = "auto"
    tools: str | None = None
    """vLLM's parser of tool calls: hermes, llama3_json, mistral, ..."""
    reasoning: str | None = None
    """vLLM's parser of reasoning: qwen3, deepseek_r1, ..."""
    extra: tuple[str, ...] = ()
    """Passed on to vLLM as they are."""

    def __post_init__(self) -> None:
        values = {name: getattr(self, name) for name in ("k", "tensor", "pipeline", "data", "nodes")}
        if self.context is not None:
            values["context"] = self.context
        check((name, value, _COUNT) for name, value in values.items())
        check((name, getattr(self, name), _PORT) for name in ("port", "master_port"))
        if self.dtype not in DTYPES:
            raise InvalidRequest("dtype", self.dtype, "one of " + ", ".join(DTYPES))
        for name in ("target", "draft"):
            if not getattr(self, name):
                raise InvalidRequest(name, getattr(self, name), "a folder or a hub id")
        if self.gpus % self.nodes:
            raise InvalidRequest("nodes", self.nodes, f"a number that divides tensor x pipeline x data = {self.gpus}")

    @property
    def gpus(self) -> int:
        return self.tensor * self.pipeline * self.data

    @property
    def gpus_per_node(self) -> int:
        return self.gpus // self.nodes

    @property
    def loopback(self) -> bool:
        """Whether all nodes are on this host."""
        return self.head in _LOOPBACK

    @property
    def speculates(self) -> bool:
        return self.draft != "none"

    def folder(self, name: str) -> str:
        """A target's or draft's folder or hub id; the bundled pair by its folder."""
        value: str = getattr(self, name)
        return str(path("target" if name == "target" else "draft")) if value == "bundled" else value
