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

import httpx

from specdec.cluster.spec import Cluster
from specdec.cluster.vllm import arguments
from specdec.errors import EngineFailed, LoadError
from specdec.signals import as_interrupts

GRACE = 20.0
"""Seconds for a node to end by itself."""
_POLL = 0.25


@dataclass(frozen=True, slots=True)
class NodeProcess:
    """A running node."""

    rank: int
    process: subprocess.Popen[bytes]

    def check(self) -> None:
        """Raises if it has ended."""
        code = self.process.poll()
        if code is not None:
            how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            raise EngineFailed(f"node {self.rank} ended with {how}; its own output above says why")

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
def running(cluster: Cluster, ranks: Sequence[int], program: Sequence[str]) -> Iterator[list[NodeProcess]]:
    """The nodes of these ranks. However the block is left, they are stopped: the first one first. SIGTERM and
    SIGHUP leave it as Ctrl-C does, so that whoever stops us stops the nodes."""
    nodes: list[NodeProcess] = []
    with as_interrupts():
        try:
            for rank in ranks:
                command = [*program, "serve", *arguments(cluster, rank)]
                try:
                    process = subprocess.Popen(command, start_new_session=True, stdin=subprocess.DEVNULL)  # noqa: S603
                except OSError as error:
                    advice = "install vLLM, or say where it is with --vllm"
                    raise LoadError(f"{program[0]} cannot be started ({error.strerror}); {advice}") from error
                nodes.append(NodeProcess(rank, process))
            yield nodes
        finally:
            for node in nodes:
                node.stop()


def wait_ready(cluster: Cluster, nodes: Sequence[NodeProcess], *, seconds: float) -> None:
    """Until the first node answers. Raises if a node ends before, or if it takes too long."""
    end, at = time.monotonic() + seconds, url(cluster)
    while True:
        with suppress(httpx.HTTPError):
            if httpx.get(at.removesuffix("/v1") + "/health", timeout=5).status_code == 200:
                return
        for node in nodes:
            node.check()
        if time.monotonic() > end:
            raise LoadError(f"no answer at {at} after {seconds:g} s; a larger --patience waits longer")
        time.sleep(_POLL)


def watch(nodes: Sequence[NodeProcess]) -> None:
    """Until a node ends, which is an error."""
    while True:
        for node in nodes:
            node.check()
        time.sleep(_POLL)


def url(cluster: Cluster) -> str:
    """Where the first node answers."""
    host = "127.0.0.1" if cluster.host == "0.0.0.0" else cluster.host  # noqa: S104  (compared, not bound)
    return f"http://{host}:{cluster.port}/v1"
