"""Command lines, compose files and Kubernetes objects, read back as those who run them read them."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from specdec.cli import app
from specdec.cluster.compose import compose
from specdec.cluster.kubernetes import kubernetes
from specdec.cluster.spec import Cluster
from specdec.cluster.vllm import arguments, shell
from specdec.errors import InvalidRequest

TWO = Cluster(
    "/models/big one",
    "/models/small",
    k=3,
    tensor=2,
    pipeline=2,
    nodes=2,
    head="10.0.0.1",
    host="0.0.0.0",
    context=4096,
    dtype="bfloat16",
    tools="hermes",
    reasoning="qwen3",
    extra=("--enforce-eager",),
)


def _options(words: list[str]) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    for word, after in zip(words, [*words[1:], "--"], strict=True):
        if word.startswith("--"):
            found[word] = None if after.startswith("--") else after
    return found


def test_plain_is_plain() -> None:
    assert arguments(Cluster("owner/model"), 0) == ["owner/model", "--host", "127.0.0.1", "--port", "8000"]


def test_two_nodes() -> None:
    first, second = (arguments(TWO, rank) for rank in (0, 1))
    assert first[0] == second[0] == "/models/big one"
    shared = {
        "--max-model-len": "4096",
        "--dtype": "bfloat16",
        "--tensor-parallel-size": "2",
        "--pipeline-parallel-size": "2",
        "--nnodes": "2",
        "--master-addr": "10.0.0.1",
        "--master-port": "29501",
        "--enable-per-request-metrics": None,
        "--per-request-spec-decode-metrics": "summary",
        "--enable-auto-tool-choice": None,
        "--tool-call-parser": "hermes",
        "--reasoning-parser": "qwen3",
        "--enforce-eager": None,
    }
    for words in (first, second):
        options = _options(words)
        config = json.loads(str(options.pop("--speculative-config")))
        assert config == {"model": "/models/small", "num_speculative_tokens": 3}
        assert shared.items() <= options.items()
    assert _options(first) | {"--node-rank": "0", "--host": "0.0.0.0", "--port": "8000"} == _options(first)
    assert _options(second) | {"--node-rank": "1", "--headless": None} == _options(second)
    assert "--port" not in second


def test_lookup_and_the_bundled_pair() -> None:
    lookup = _options(arguments(Cluster("bundled", "lookup"), 0))["--speculative-config"]
    assert json.loads(str(lookup))["method"] == "ngram"
    target, *rest = arguments(Cluster("bundled", "bundled"), 0)
    draft = json.loads(str(_options(rest)["--speculative-config"]))["model"]
    assert Path(target, "config.json").is_file()
    assert Path(draft, "config.json").is_file()


def test_shells_read_it_back() -> None:
    words = ["vllm", "serve", *arguments(TWO, 0)]
    printed = subprocess.run(
        ["/bin/sh", "-c", "printf '%s\\n' " + shell(words)], capture_output=True, text=True, check=True
    ).stdout
    assert printed.splitlines() == words


def test_compose() -> None:
    for rank in (0, 1):
        service = yaml.safe_load(compose(TWO, rank))["services"]["vllm"]
        assert service["command"] == arguments(TWO, rank)
        assert service["volumes"][:2] == [
            "/models/big one:/models/big one:ro",
            "/models/small:/models/small:ro",
        ]
        assert service["deploy"]["resources"]["reservations"]["devices"][0]["count"] == 2
        assert ("healthcheck" in service) == (rank == 0)


def _kinds(text: str) -> dict[str, Any]:
    return {f"{o['kind']}/{o['metadata']['name']}": o for o in yaml.safe_load_all(text)}


def _started(container: dict[str, Any], rank: int) -> list[str]:
    """What the pod of this rank would call."""
    script = container["command"][2].replace("exec vllm", "printf '%s\\n' vllm")
    environment = {"NODE_RANK": str(rank), "PATH": "/usr/bin:/bin"}
    run = subprocess.run(["/bin/sh", "-c", script], capture_output=True, text=True, check=True, env=environment)
    return run.stdout.splitlines()


@pytest.mark.parametrize("cluster", [TWO, Cluster("owner/model", "lookup", tensor=2)], ids=["two nodes", "one node"])
def test_kubernetes(cluster: Cluster) -> None:
    objects = _kinds(kubernetes(cluster))
    assert ("Service/specdec-vllm-nodes" in objects) == (cluster.nodes > 1)
    nodes = objects["StatefulSet/specdec-vllm"]["spec"]
    assert nodes["replicas"] == cluster.nodes
    assert nodes["selector"]["matchLabels"] == nodes["template"]["metadata"]["labels"]
    pod = nodes["template"]["spec"]
    (container,) = pod["containers"]
    assert {m["name"] for m in container["volumeMounts"]} == {v["name"] for v in pod["volumes"]}
    assert container["resources"]["limits"]["nvidia.com/gpu"] == cluster.gpus_per_node
    for rank in range(cluster.nodes):
        options = _options(_started(container, rank))
        assert ("--headless" in options) == (rank > 0)
        assert options.get("--node-rank") == (str(rank) if cluster.nodes > 1 else None)
        if rank == 0:
            assert options["--host"] == "0.0.0.0"
        if cluster.nodes > 1:
            assert options["--master-addr"] == "specdec-vllm-0.specdec-vllm-nodes"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tensor": 0}, "tensor is 0; expected a whole number, 1 or more"),
        ({"nodes": 2}, "nodes is 2; expected a number that divides tensor x pipeline x data = 1"),
        ({"port": 70000}, "port is 70000; expected a whole number from 1 to 65535"),
        ({"dtype": "int3"}, "dtype is 'int3'; expected one of auto"),
        ({"k": 0}, "k is 0; expected"),
        ({"context": -1}, "context is -1; expected"),
        ({"draft": ""}, "draft is ''; expected a folder or a hub id"),
    ],
)
def test_wrong_values(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        Cluster("x", **options)


def _run(*words: str) -> Any:
    return CliRunner().invoke(app, ["cluster", *words])


def test_from_the_command_line(tmp_path: Path) -> None:
    shown = _run("show", "--target", "m", "--tensor", "2", "--nodes", "2", "--head", "h", "--", "--seed", "3").output
    assert shown.count("vllm serve m") == 2
    assert shown.count("--seed 3") == 2
    assert shlex.split(shown.split("# node1.sh\n")[1])[-1] == "--headless"
    written = _run(
        "compose", "--target", "m", "--tensor", "2", "--nodes", "2", "--head", "h", "--output", str(tmp_path)
    )
    assert written.exit_code == 0
    assert sorted(p.parent.name for p in tmp_path.glob("*/compose.yaml")) == ["node0", "node1"]
    assert "StatefulSet" in _run("kubernetes", "--target", "m").output


def test_wrong_command_lines(tmp_path: Path) -> None:
    no_head = _run("show", "--target", "m", "--tensor", "2", "--nodes", "2")
    assert no_head.exit_code == 2
    assert "head is '127.0.0.1'; expected the first host's address" in no_head.output
    (tmp_path / "file").write_text("")
    taken = _run("compose", "--target", "m", "--output", str(tmp_path / "file"))
    assert taken.exit_code == 2
    assert "expected a folder that can be written" in taken.output
    assert "rank is 3; expected" in _run("launch", "--target", "m", "--rank", "3").output
    assert "rank is None; expected the number of this host" in _run("launch", "--target", "m", "--head", "far").output
