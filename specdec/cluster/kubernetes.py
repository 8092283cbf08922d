"""Kubernetes objects: one pod a node, in a StatefulSet, whose index is the node's rank."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import Any

from specdec.cluster import yaml
from specdec.cluster.compose import IMAGE, local_folders
from specdec.cluster.spec import Cluster
from specdec.cluster.vllm import node_arguments, shared_arguments

NAME = "specdec-vllm"
_LABELS = {"app": NAME}
_INDEX = "apps.kubernetes.io/pod-index"  # a label that StatefulSets have set since Kubernetes 1.28


def kubernetes(cluster: Cluster) -> str:
    """A Service for clients, one by which the nodes find the first, and the nodes."""
    inside = replace(cluster, head=f"{NAME}-0.{NAME}-nodes", host="0.0.0.0")  # noqa: S104  (a pod is reached from outside)
    selector = {**_LABELS, _INDEX: "0"}  # followers answer no HTTP
    ports = [{"name": "http", "port": inside.port, "targetPort": "http"}]
    objects = [_object("v1", "Service", NAME, {"selector": selector, "ports": ports})]
    if inside.nodes > 1:
        meeting_place = {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": _LABELS,
            "ports": [{"name": "nodes", "port": inside.master_port}],
        }
        objects.append(_object("v1", "Service", f"{NAME}-nodes", meeting_place))
    nodes = {
        "replicas": inside.nodes,
        "serviceName": f"{NAME}-nodes" if inside.nodes > 1 else NAME,
        "podManagementPolicy": "Parallel",  # no node is ready before all are there
        "selector": {"matchLabels": _LABELS},
        "template": {"metadata": {"labels": _LABELS}, "spec": _pod(inside)},
    }
    objects.append(_object("apps/v1", "StatefulSet", NAME, nodes))
    return "---\n".join(yaml.dump(o) for o in objects)


def _pod(cluster: Cluster) -> dict[str, Any]:
    # followers have nothing to ask: they are ready when they run, and end with the first node
    test = f'[ "$NODE_RANK" != 0 ] || curl -sf http://127.0.0.1:{cluster.port}/health'
    probe = {"exec": {"command": ["/bin/sh", "-c", test]}, "periodSeconds": 10, "timeoutSeconds": 5}
    index = {"fieldRef": {"fieldPath": f"metadata.labels['{_INDEX}']"}}
    key = {"secretKeyRef": {"name": NAME, "key": "api-key", "optional": True}}
    volumes: list[dict[str, Any]] = [
        {"name": "shm", "emptyDir": {"medium": "Memory"}},
        {"name": "cache", "emptyDir": {}},
    ]
    mounts: list[dict[str, Any]] = [
        {"name": "shm", "mountPath": "/dev/shm"},  # noqa: S108  (where NCCL wants it)
        {"name": "cache", "mountPath": "/root/.cache/huggingface"},
    ]
    for i, path in enumerate(local_folders(cluster)):
        volumes.append({"name": f"model-{i}", "hostPath": {"path": path, "type": "Directory"}})
        mounts.append({"name": f"model-{i}", "mountPath": path, "readOnly": True})
    container = {
        "name": "vllm",
        "image": IMAGE,
        "command": ["/bin/sh", "-c", _script(cluster)],
        "env": [{"name": "NODE_RANK", "valueFrom": index}, {"name": "VLLM_API_KEY", "valueFrom": key}],
        "ports": [{"name": "http", "containerPort": cluster.port}],
        "resources": {"limits": {"nvidia.com/gpu": cluster.gpus_per_node}},
        "volumeMounts": mounts,
        "startupProbe": {**probe, "failureThreshold": 180},  # half an hour to fetch and load a large model
        "readinessProbe": probe,
        "livenessProbe": {**probe, "failureThreshold": 6},
    }
    return {"terminationGracePeriodSeconds": 60, "containers": [container], "volumes": volumes}


def _script(cluster: Cluster) -> str:
    """One script for all nodes; the shell puts in the rank."""
    serve = shlex.join(["vllm", "serve", cluster.folder("target"), *shared_arguments(cluster)])
    if cluster.nodes == 1:
        return f"exec {serve} {shlex.join(node_arguments(cluster, 0))}"
    own = {rank: shlex.join(node_arguments(cluster, rank)[2:]) for rank in (0, 1)}
    choose = f'if [ "$NODE_RANK" = 0 ]; then set -- {own[0]}; else set -- {own[1]}; fi'
    return f'{choose}; exec {serve} --node-rank "$NODE_RANK" "$@"'


def _object(version: str, kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, "labels": _LABELS}, "spec": spec}
