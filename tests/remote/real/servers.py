"""Real servers as child processes, in the environments that `environments.py` made."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from specdec.bundled import path
from specdec.cluster.launch import running, url, wait_ready
from specdec.cluster.spec import Cluster
from tests.engine_contract import eventually

_CPU = ("--enforce-eager", "--served-model-name", "story")


def program(environment: str, name: str) -> Path:
    """Where it is, or the test is skipped."""
    folder = os.environ.get("SPECDEC_SERVERS")
    found = Path(folder or "", environment, "bin", name)
    if not folder or not found.exists():
        pytest.skip("SPECDEC_SERVERS names no folder made by tests/remote/real/environments.py")
    return found


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def vllm(context: int = 512, **words: Any) -> Iterator[str]:
    """The URL of a vLLM with the bundled target, started as `specdec cluster launch` does."""
    command = str(program("vllm", "vllm"))
    cluster = Cluster(
        "bundled",
        context=context,
        dtype="float32",
        tools="hermes",
        port=free_port(),
        master_port=free_port(),
        extra=_CPU,
        **words,
    )
    with pytest.MonkeyPatch.context() as patch:
        for name, value in _environment(cluster).items():
            patch.setenv(name, value)
        with running(cluster, range(cluster.nodes), [command]) as nodes:
            wait_ready(cluster, nodes, seconds=400)
            yield url(cluster)


def _environment(cluster: Cluster) -> dict[str, str]:
    bind = {"VLLM_CPU_OMP_THREADS_BIND": "0|1"} if cluster.gpus > 1 else {"OMP_NUM_THREADS": "2"}
    return {"VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", **bind}


@contextmanager
def llama_cpp(folder: Path) -> Iterator[str]:
    """The URL of a llama-cpp-python server with the bundled target, in GGUF."""
    python, port = program("llama-cpp", "python"), free_port()
    file = folder / "target.gguf"
    subprocess.run([python, Path(__file__).with_name("gguf_of.py"), path("target"), file], check=True)
    words = ["--host", "127.0.0.1", "--port", str(port), "--n_ctx", "512", "--model_alias", "story"]
    server = subprocess.Popen(
        [str(python), "-m", "llama_cpp.server", "--model", str(file), *words], stdout=subprocess.DEVNULL
    )
    try:
        eventually(lambda: server.poll() is not None or _answers(port), seconds=120)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        server.terminate()
        server.wait(30)


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/v1/models").status_code == 200
    except httpx.HTTPError:
        return False
