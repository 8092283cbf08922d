"""The routers' own programs read what is generated, and behave as promised."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from specdec.cli import app
from specdec.cluster.router import Router, router
from specdec.errors import InvalidRequest, LoadError
from specdec.remote import RemoteEngine
from tests.engine_contract import eventually
from tests.remote.scripted import ScriptedServer

PATH = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"


def _program(name: str) -> str:
    found = shutil.which(os.environ.get("VLLM_ROUTER", name) if name == "vllm-router" else name, path=PATH)
    if not found:
        pytest.skip(f"{name} is not installed")
    return found


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def _command(kind: Router, text: str, folder: Path) -> list[str]:
    program = _program(kind)
    if kind == "vllm-router":
        return [program, *text.replace("\\\n", " ").split()[1:]]
    file = folder / "router.conf"
    file.write_text(text)
    if kind == "haproxy":
        return [program, "-db", "-f", str(file)]
    return [
        program,
        "-p",
        str(folder),
        "-c",
        str(file),
        "-e",
        "stderr",
        "-g",
        f"daemon off; pid {folder}/pid;",
    ]


@contextmanager
def _running(kind: Router, servers: list[ScriptedServer], folder: Path) -> Iterator[str]:
    port = _free_port()
    text = router(kind, [s.url for s in servers], port, "127.0.0.1")
    process = subprocess.Popen(
        _command(kind, text, folder), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder
    )
    try:
        eventually(lambda: process.poll() is not None or _listens(port))
        assert process.poll() is None, "the router ended"
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(20)


def _listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


KINDS = ["nginx", "haproxy", pytest.param("vllm-router", marks=pytest.mark.slow)]
AFFINE = KINDS[1:]


@pytest.mark.parametrize("kind", KINDS)
def test_streams_go_through_as_they_come(kind: Router, tmp_path: Path) -> None:
    with ExitStack() as stack:
        servers = [stack.enter_context(ScriptedServer(pace=0.02)) for _ in range(2)]
        engine = stack.enter_context(_connected(stack.enter_context(_running(kind, servers, tmp_path))))
        with closing(engine.stream("Once", max_tokens=50)) as events:
            start = time.perf_counter()
            first, arrived = next(events), time.perf_counter() - start
            assert first.text == " w0"
            assert [t.id for e in events for t in e.tokens] == list(range(1, 50))
        assert arrived < (time.perf_counter() - start) / 2, "the answer came in one piece"


@pytest.mark.parametrize("kind", KINDS)
def test_leaving_reaches_the_server(kind: Router, tmp_path: Path) -> None:
    with ExitStack() as stack:
        servers = [stack.enter_context(ScriptedServer()) for _ in range(2)]
        engine = stack.enter_context(_connected(stack.enter_context(_running(kind, servers, tmp_path))))
        events = engine.stream("Once", max_tokens=100_000)
        next(events)
        events.close()
        eventually(lambda: sum(s.left for s in servers) == 1)


@pytest.mark.parametrize("kind", AFFINE)
def test_conversations_stay_where_they_are(kind: Router, tmp_path: Path) -> None:
    with ExitStack() as stack:
        servers = [stack.enter_context(ScriptedServer()) for _ in range(2)]
        engine = stack.enter_context(_connected(stack.enter_context(_running(kind, servers, tmp_path))))
        for topic in range(6):
            chat = [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": f"Topic {topic}. " * 40},
            ]
            for _ in range(3):
                answer = engine.generate(chat, max_tokens=4).text
                chat += [{"role": "assistant", "content": answer}, {"role": "user", "content": "More."}]
        seen = [{str(x.body["messages"][1]) for x in s.seen} for s in servers]
        assert not seen[0] & seen[1], "a conversation was spread"
        assert all(seen) or kind == "vllm-router", "one server got everything"  # that one spreads under load alone


@pytest.mark.parametrize("kind", AFFINE)
def test_affinity_is_bounded_by_load(kind: Router, tmp_path: Path) -> None:
    with ExitStack() as stack:
        servers = [stack.enter_context(ScriptedServer(pace=0.02)) for _ in range(2)]
        engine = stack.enter_context(_connected(stack.enter_context(_running(kind, servers, tmp_path))))
        with ThreadPoolExecutor(24) as pool:
            list(pool.map(lambda _: engine.generate("The same.", max_tokens=60), range(24)))
        assert min(len(s.seen) for s in servers) >= 6


def test_nginx_goes_where_least_is_running(tmp_path: Path) -> None:
    with ExitStack() as stack:
        servers = [stack.enter_context(ScriptedServer(pace=0.01)) for _ in range(2)]
        engine = stack.enter_context(_connected(stack.enter_context(_running("nginx", servers, tmp_path))))
        with ThreadPoolExecutor(12) as pool:
            list(pool.map(lambda _: engine.generate("The same.", max_tokens=30), range(12)))
        assert min(len(s.seen) for s in servers) >= 4


@contextmanager
def _connected(url: str) -> Iterator[RemoteEngine]:
    """As soon as the router has found its servers healthy."""
    end = time.monotonic() + 60
    while True:
        try:
            engine = RemoteEngine(url)
            break
        except LoadError:
            assert time.monotonic() < end
            time.sleep(0.1)
    with engine:
        yield engine


@pytest.mark.parametrize("server", ["ftp://a:1", "a:8000", "http://a:8000/other", "https://a"])
def test_wrong_servers(server: str) -> None:
    with pytest.raises(InvalidRequest, match=r"server is .*; expected"):
        router("nginx", [server], 1, "127.0.0.1")


def test_from_the_command_line() -> None:
    written = CliRunner().invoke(app, ["router", "nginx", "http://a:8000", "http://b:8000/v1", "--port", "81"])
    assert written.exit_code == 0
    assert "server b:8000" in written.output
    assert "listen 127.0.0.1:81;" in written.output
