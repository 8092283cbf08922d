"""Start the nodes that run on this host, wait until they answer, watch them, and stop them as they should be stopped.

Each node is a process group of its own, so that a Ctrl-C reaches this process alone, which then stops the first node,
then its followers, and last of all whatever is left of their groups.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType

import httpx

from specdec.cluster.spec import Cluster
from specdec.cluster.vllm import arguments
from specdec.errors import EngineFailed, LoadError

GRACE = 20.0
"""Seconds for a node to end by itself."""
_POLL = 0.25


@dataclass(frozen=True, slots=True)
class Node:
    """A running node."""

    rank: int
    process: subprocess.Popen[bytes]

    def check(self) -> None:
        """Raises if it has ended."""
        code = self.process.poll()
        if code is not None:
            raise EngineFailed(f"node {self.rank} ended with {_how(code)}; its own output above says why")

    def stop(self, grace: float = GRACE) -> None:
        """Ask, wait, then end what is left of its group."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(grace)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextmanager
def running(cluster: Cluster, ranks: Sequence[int], program: Sequence[str]) -> Iterator[list[Node]]:
    """The nodes of these ranks. However the block is left, SIGTERM included, they are stopped: the first one first."""
    nodes: list[Node] = []
    with _terminable():
        try:
            nodes.extend(_start(cluster, rank, program) for rank in ranks)
            yield nodes
        finally:
            for node in nodes:
                node.stop()


def wait_ready(cluster: Cluster, nodes: Sequence[Node], *, seconds: float) -> None:
    """Until the first node answers. Raises if a node ends before, or if it takes too long."""
    end = time.monotonic() + seconds
    while not _healthy(cluster):
        for node in nodes:
            node.check()
        if time.monotonic() > end:
            raise LoadError(f"no answer at {url(cluster)} after {seconds:g} s; a larger --patience waits longer")
        time.sleep(_POLL)


def watch(nodes: Sequence[Node]) -> None:
    """Until a node ends, which is an error."""
    while True:
        for node in nodes:
            node.check()
        time.sleep(_POLL)


def url(cluster: Cluster) -> str:
    """Where the first node answers."""
    host = "127.0.0.1" if cluster.host == "0.0.0.0" else cluster.host  # noqa: S104  (compared, not bound)
    return f"http://{host}:{cluster.port}/v1"


def _start(cluster: Cluster, rank: int, program: Sequence[str]) -> Node:
    command = [*program, "serve", *arguments(cluster, rank)]
    try:
        return Node(rank, subprocess.Popen(command, start_new_session=True, stdin=subprocess.DEVNULL))  # noqa: S603
    except OSError as error:
        raise LoadError(
            f"{program[0]} cannot be started ({error.strerror}); install vLLM, or say where it is with --vllm"
        ) from error


def _healthy(cluster: Cluster) -> bool:
    try:
        return httpx.get(url(cluster).removesuffix("/v1") + "/health", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def _how(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM leaves the block like Ctrl-C does, so that whoever stops us stops the nodes."""

    def leave(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
