"""The command line of each node, in vLLM's words (0.32)."""

from __future__ import annotations

import json
import shlex

from specdec.cluster.spec import Cluster

VERSION = "0.32.0"
_LOOKUP = {"method": "ngram", "prompt_lookup_max": 4, "prompt_lookup_min": 2}
"""Longer matches are right more often; those of one token alone hardly ever pay on GPUs."""


def arguments(cluster: Cluster, rank: int) -> list[str]:
    """What follows `vllm serve` on node `rank`."""
    return [cluster.folder("target"), *shared_arguments(cluster), *node_arguments(cluster, rank)]


def shared_arguments(cluster: Cluster) -> list[str]:
    """The same on every node."""
    words: list[str] = []
    if cluster.context is not None:
        words += ["--max-model-len", str(cluster.context)]
    if cluster.dtype != "auto":
        words += ["--dtype", cluster.dtype]
    for name in ("tensor", "pipeline", "data"):
        if (size := getattr(cluster, name)) > 1:
            words += [f"--{name}-parallel-size", str(size)]
    if cluster.nodes > 1:
        words += ["--nnodes", str(cluster.nodes)]
        words += ["--master-addr", cluster.head, "--master-port", str(cluster.master_port)]
    if config := speculative_config(cluster):
        words += ["--speculative-config", config]
        words += ["--enable-per-request-metrics", "--per-request-spec-decode-metrics", "summary"]
    if cluster.tools:
        words += ["--enable-auto-tool-choice", "--tool-call-parser", cluster.tools]
    if cluster.reasoning:
        words += ["--reasoning-parser", cluster.reasoning]
    return [*words, *cluster.extra]


def node_arguments(cluster: Cluster, rank: int) -> list[str]:
    """What tells a node which it is. Followers answer no HTTP."""
    listens = ["--host", cluster.host, "--port", str(cluster.port)]
    if cluster.nodes == 1:
        return listens
    own = ["--node-rank", str(rank)]
    return [*own, "--headless"] if rank else [*own, *listens]


def speculative_config(cluster: Cluster) -> str | None:
    """vLLM's --speculative-config; it finds out itself which kind of draft a checkpoint is."""
    if not cluster.speculates:
        return None
    drafter = _LOOKUP if cluster.draft == "lookup" else {"model": cluster.folder("draft")}
    return json.dumps({**drafter, "num_speculative_tokens": cluster.k})


def shell(words: list[str]) -> str:
    """A command as a person would type it, an option a line."""
    lines: list[list[str]] = [[]]
    for word in words:
        if word.startswith("-"):
            lines.append([])
        lines[-1].append(word)
    return " \\\n    ".join(shlex.join(line) for line in lines)
