"""Does it fit, and what would make speculation pay? Arithmetic from data sheets, before anything is bought.

Speed is taken as bound by memory bandwidth, as decoding few requests at once is: a round reads the target's weights
once, however many tokens it verifies, and the draft's once for each drafted token.
"""

from __future__ import annotations

from dataclasses import dataclass

from specdec.cluster.gpus import GIB, Gpu
from specdec.cluster.shape import ModelShape
from specdec.cluster.spec import Cluster
from specdec.errors import InvalidRequest

USABLE = 0.9
"""Of a GPU's memory: vLLM's own --gpu-memory-utilization."""
WORKING = 2 * GIB
"""Activations, CUDA graphs and communication on each GPU: a rule of thumb."""
OVERHEAD = 0.05
"""Of a round of the target: sampling, proposals, and the rows that are verified beside the first."""


@dataclass(frozen=True, slots=True)
class ClusterPlan:
    """Bytes are for each GPU."""

    gpu: Gpu
    target_weights: float
    draft_weights: float
    kv_per_token: float
    context: int
    free: float
    """For the cache; below 0 if not even the weights fit."""
    round_seconds: float
    """Of the target alone, one request."""
    draft_seconds: float
    """For all k drafted tokens."""
    pays_from: float
    """The acceptance length above which a round with drafts yields more tokens per second than plain rounds."""
    free_rows: int
    """Requests at once up to which arithmetic takes no longer than reading the weights, and verifying is free."""

    @property
    def cached_tokens(self) -> int:
        """Tokens of context that fit, over all requests of one copy."""
        return max(0, int(self.free / self.kv_per_token))

    @property
    def requests(self) -> float:
        """Full contexts at once."""
        return self.cached_tokens / self.context

    @property
    def fits(self) -> bool:
        return self.cached_tokens >= self.context


def plan(cluster: Cluster, target: ModelShape, draft: ModelShape | None, gpu: Gpu) -> ClusterPlan:
    """One copy of the model over tensor x pipeline GPUs."""
    context = cluster.context or target.context
    if not context:
        raise InvalidRequest("context", context, "a number of tokens, since the checkpoint's config names none")
    weights = target.weight_bytes / (cluster.tensor * cluster.pipeline)
    draft_weights = draft.weight_bytes / cluster.tensor if draft else 0.0
    kv = _kv(target, cluster.tensor) / cluster.pipeline + (_kv(draft, cluster.tensor) if draft else 0.0)
    once = target.weight_bytes / cluster.tensor / gpu.bandwidth  # the stages of a pipeline take turns
    drafting = cluster.k * draft_weights / gpu.bandwidth
    rows = gpu.flops * target.dtype_bytes / (2 * gpu.bandwidth)
    free = USABLE * gpu.memory - WORKING - weights - draft_weights
    pays_from, free_rows = 1 + OVERHEAD + drafting / once, max(1, int(rows / (cluster.k + 1)))
    return ClusterPlan(gpu, weights, draft_weights, kv, context, free, once, drafting, pays_from, free_rows)


def _kv(shape: ModelShape, tensor: int) -> float:
    """A GPU holds at least one head: more GPUs than heads hold copies."""
    return shape.kv_bytes / shape.kv_heads * max(shape.kv_heads / tensor, 1.0)
