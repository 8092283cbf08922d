"""What a cluster is to be: our words, checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from specdec.bundled import path
from specdec.errors import InvalidRequest

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
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
        for name in ("k", "tensor", "pipeline", "data", "nodes"):
            _at_least_one(name, getattr(self, name))
        for name in ("port", "master_port"):
            _in_range(name, getattr(self, name), 1, 2**16 - 1)
        if self.context is not None:
            _at_least_one("context", self.context)
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


def _at_least_one(name: str, value: Any) -> None:
    _in_range(name, value, 1, None)


def _in_range(name: str, value: Any, low: int, high: int | None) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < low or (high is not None and value > high):
        expected = f"a whole number, {low} or more" if high is None else f"a whole number from {low} to {high}"
        raise InvalidRequest(name, value, expected)
