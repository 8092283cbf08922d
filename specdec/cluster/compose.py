"""A compose file for each node. Nodes use the host's network, so that they find one another by its addresses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from specdec.cluster import yaml
from specdec.cluster.spec import Cluster
from specdec.cluster.vllm import VERSION, arguments

IMAGE = f"vllm/vllm-openai:v{VERSION}"
_START = "600s"
"""A large model takes minutes to load."""


def compose(cluster: Cluster, rank: int) -> str:
    """compose.yaml of one node."""
    gpus = {"driver": "nvidia", "count": cluster.gpus_per_node, "capabilities": ["gpu"]}
    service: dict[str, Any] = {
        "image": IMAGE,
        "command": arguments(cluster, rank),
        "network_mode": "host",
        "ipc": "host",
        "restart": "unless-stopped",
        "stop_grace_period": "60s",
        "environment": {"VLLM_API_KEY": "${VLLM_API_KEY:-}"},
        "volumes": volumes(cluster),
        "deploy": {"resources": {"reservations": {"devices": [gpus]}}},
    }
    if rank == 0:
        test = ["CMD", "curl", "-sf", f"http://127.0.0.1:{cluster.port}/health"]
        service["healthcheck"] = {"test": test, "interval": "10s", "timeout": "5s", "start_period": _START}
    return yaml.dump({"services": {"vllm": service}})


def volumes(cluster: Cluster) -> list[str]:
    """Local checkpoints at their own paths, and the hub's cache."""
    return [
        *(f"{folder}:{folder}:ro" for folder in local_folders(cluster)),
        "${HOME}/.cache/huggingface:/root/.cache/huggingface",
    ]


def local_folders(cluster: Cluster) -> list[str]:
    """Checkpoints that are folders of the host."""
    names = ["target"] if cluster.draft in ("none", "lookup") else ["target", "draft"]
    return [name for name in dict.fromkeys(map(cluster.folder, names)) if Path(name).is_absolute()]
