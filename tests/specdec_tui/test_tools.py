"""Tools that the chat runs: asked for, run, stopped; MCP servers and the working folder."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import venv
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from specdec.errors import LoadError
from specdec.types import Message, Request
from specdec_tui.core.config import Config
from specdec_tui.core.servers import ToolServer
from specdec_tui.core.tools import Toolbox, folder_tools
from specdec_tui.widgets.approval import Approval
from tests.fakes import ScriptedEngine, call
from tests.specdec_tui.running import Driver, running

SERVER = Path(__file__).with_name("tool_server.py")


class Calling(ScriptedEngine):
    """Calls first, and tells what came of it after the results."""

    def __init__(self, *calls: list[str]) -> None:
        super().__init__(["It", " is", " so."])
        self._first = [token for one in calls for token in one]
        self._after = list(self.script)

    def _events(self, request: Request) -> list:  # type: ignore[type-arg]
        last = request.prompt[-1]
        self.script = self._after if isinstance(last, Message) and last.role == "tool" else self._first
        self.speculative_script = self.script
        return super()._events(request)


def _results(engine: ScriptedEngine) -> list[str | None]:
    return [m.content for m in engine.requests[-1].prompt if isinstance(m, Message) and m.role == "tool"]


async def _asks(chat: Driver) -> None:
    await chat.until(lambda: isinstance(chat.app.screen.focused, Approval))


@pytest.fixture
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text("red")
    (tmp_path / "b.txt").write_text("blue")


@pytest.mark.usefixtures("_here")
async def test_calls_are_shown_allowed_run_and_answered() -> None:
    engine = Calling(call("read_file", {"path": "a.txt"}), call("read_file", {"path": "b.txt"}))
    async with running(engine, config=Config(read_folder=True)) as chat:
        await chat.ready()
        await chat.until(lambda: chat.app.main.prompt.border_subtitle == "2 tools")
        await chat.enter("Which colours?")
        await _asks(chat)
        assert '{"path": "a.txt"}' in chat.text_of("#approval")
        await chat.pilot.press("y")
        await chat.until(lambda: "b.txt" in chat.text_of("#approval"))
        await chat.pilot.press("n")
        await chat.until(lambda: chat.texts[-1] == "It is so." and not chat.app.main.busy)
        assert _results(engine) == ["red", "the user does not allow this call"]
        assert {t["function"]["name"] for t in engine.requests[0].tools} == {"list_files", "read_file"}
        assert chat.app.screen.focused is chat.app.main.prompt


@pytest.mark.usefixtures("_here")
async def test_a_call_that_was_cut_short_is_not_run() -> None:
    async with running(Calling(call("read_file", {"path": "a.txt"})), config=Config(read_folder=True)) as chat:
        await chat.ready()
        await chat.until(lambda: chat.app.main.toolbox.tools)
        await chat.enter("/set max_tokens 9")
        await chat.ask("Which?")
        answer = chat.app.main.chat.conversation.last("assistant")
        assert answer and answer.message.tool_calls[0].name == "read_file"
        assert not chat.app.main.approval.has_class("-asks")


@pytest.mark.usefixtures("_here")
async def test_always_and_never_are_asked_once() -> None:
    engine = Calling(call("read_file", {"path": "a.txt"}), call("list_files", {}))
    async with running(engine) as chat:
        await chat.ready()
        await chat.enter("/tools files")
        await chat.enter("Which?")
        await _asks(chat)
        await chat.pilot.press("a")
        await chat.until(lambda: "list_files" in chat.text_of("#approval"))
        await chat.pilot.press("x")
        await chat.until(lambda: chat.texts[-1] == "It is so." and not chat.app.main.busy)
        await chat.ask("Again?")
        await chat.until(lambda: chat.texts[-1] == "It is so." and not chat.app.main.busy)
        assert _results(engine) == ["red", "the user does not allow this call"] * 2
        await chat.enter("/tools off")
        await chat.until(lambda: not chat.app.main.toolbox.tools)


@pytest.mark.usefixtures("_here")
async def test_escape_stops_calls_and_the_chat_goes_on() -> None:
    engine = Calling(call("read_file", {"path": "a.txt"}))
    async with running(engine, config=Config(read_folder=True)) as chat:
        await chat.ready()
        await chat.enter("Which?")
        await _asks(chat)
        await chat.pilot.press("escape")
        await chat.until(lambda: not chat.app.main.busy)
        assert chat.texts[-1] == "stopped by the user"
        assert len(engine.requests) == 1


async def test_tools_of_a_server_are_offered_and_run(tmp_path: Path) -> None:
    servers = {"fox": ToolServer(sys.executable, (str(SERVER),)), "none": ToolServer("/no/such/command")}
    engine = Calling(call("add", {"a": 1, "b": 2}), call("break_it", {}), call("wait_long", {}))
    async with running(engine, config=Config(tool_servers=servers)) as chat:
        await chat.ready()
        await chat.until(lambda: len(chat.app.main.toolbox.tools) == 5)
        await chat.until(lambda: any(text.startswith("no tools of none: ") for text in chat.toasts))
        await chat.enter("Add")
        await _asks(chat)
        await chat.pilot.press("y", "y", "n")
        await chat.until(lambda: chat.texts[-1] == "It is so." and not chat.app.main.busy)
        assert _results(engine)[0] == "3"
        assert str(_results(engine)[1]).startswith("failed: ")


async def test_a_server_that_says_nothing_does_not_outlive_the_chat(tmp_path: Path) -> None:
    seen = tmp_path / "pid"
    silent = f"import os, pathlib, time; pathlib.Path({str(seen)!r}).write_text(str(os.getpid())); time.sleep(600)"
    servers = {"silent": ToolServer(sys.executable, ("-c", silent))}
    async with running(ScriptedEngine(), config=Config(tool_servers=servers)) as chat:
        await chat.ready()
        await chat.until(lambda: seen.exists() and seen.read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(int(seen.read_text()), 0)


@asynccontextmanager
async def _served(tmp_path: Path, server: ToolServer) -> AsyncIterator[Toolbox]:
    """Tools of a server, as soon as it listens."""
    told = asyncio.Event()
    toolbox = Toolbox({"fox": server}, tmp_path / "log", lambda _: told.set())
    serving = asyncio.create_task(toolbox.serve())
    async with asyncio.timeout(60):
        await told.wait()
        while not toolbox.tools:
            await toolbox.connect()
    yield toolbox
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert not toolbox.tools


def _start(port: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, str(SERVER), str(port)], stderr=subprocess.DEVNULL)


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


async def test_a_server_at_a_url_and_a_call_that_is_cancelled(
    port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOX_KEY", "silver")
    headers = {"Authorization": "Bearer ${FOX_KEY}", "X-Den": "${DEN:-hill}"}
    process = _start(port)
    async with _served(tmp_path, ToolServer(url=f"http://127.0.0.1:{port}/mcp", headers=headers)) as toolbox:
        assert await toolbox.call("add", '{"a": 2, "b": 3}') == "5"
        assert await toolbox.call("header", '{"name": "authorization"}') == "Bearer silver"
        assert await toolbox.call("header", '{"name": "x-den"}') == "hill"
        assert "failed" in await toolbox.call("add", '{"a": "x"}')
        assert (await toolbox.call("add", '{"a"')).startswith("failed: ")
        waiting = asyncio.create_task(toolbox.call("wait_long", "{}"))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        process.kill()
        process.wait()
        gone = await toolbox.call("add", '{"a": 2, "b": 3}')
        assert gone.startswith("failed: ")
        assert "attempts failed" in gone
        process = _start(port)
        async with asyncio.timeout(60):
            while await toolbox.call("add", '{"a": 2, "b": 3}') != "5":
                pass
    process.kill()
    process.wait()


async def test_a_server_that_has_ended_is_started_again_by_the_next_call(tmp_path: Path) -> None:
    async with _served(tmp_path, ToolServer(sys.executable, (str(SERVER),))) as toolbox:
        first = int(await toolbox.call("end", "{}"))
        os.kill(first, signal.SIGKILL)
        both = await asyncio.gather(toolbox.call("end", "{}"), toolbox.call("end", "{}"))
        assert both[0] == both[1] != str(first), "one is started, not two"
        ended = await toolbox.call("end", '{"now": true}')
        assert ended == "failed: fox ended during this call; the next call starts it again"
        assert await toolbox.call("add", '{"a": 2, "b": 3}') == "5"


async def test_each_server_that_has_nothing_says_why_and_a_name_that_two_have_is_told_apart(tmp_path: Path) -> None:
    fox, news = ToolServer(sys.executable, (str(SERVER),)), asyncio.Queue[str | LoadError]()
    silent = ToolServer(sys.executable, ("-c", "input(); input()"))
    gone, missing = ToolServer(sys.executable, ("-c", "")), ToolServer("/no/such/command")
    servers = {"fox": fox, "wolf": fox, "gone": gone, "missing": missing, "silent": silent}
    toolbox = Toolbox(servers, tmp_path / "log", news.put_nowait)
    serving = asyncio.create_task(toolbox.serve())
    async with asyncio.timeout(60):
        said = [str(await news.get()) for _ in range(4)]
    assert (toolbox.waiting, {tool.server for tool in toolbox.tools.values()}) == ({"silent"}, {"fox", "wolf"})
    await toolbox.connect()
    said += [str(news.get_nowait()) for _ in range(2)]
    assert news.empty(), "those that failed are tried again, and nobody is waited for twice"
    assert "no tools of missing: /no/such/command: No such file or directory" in said[-1]
    assert "no tools of gone: it ended before it said what it has; what it wrote is in" in said[-1]
    assert len(toolbox.tools) == 10
    assert await toolbox.call("add", '{"a": 2, "b": 3}') == "5"
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving


async def test_a_variable_that_is_not_set_is_named(tmp_path: Path) -> None:
    said: list[str] = []
    server = ToolServer(url="http://127.0.0.1:1/mcp", headers={"Authorization": "${NO_SUCH_KEY}"})
    await Toolbox({"fox": server}, tmp_path / "log", lambda news: said.append(str(news))).connect()
    why = "mcpServers is '${NO_SUCH_KEY}'; expected a variable of the environment that is set"
    assert said == [f"no tools of fox: {why} · /tools tries again"]


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """Where the servers of others are, as their packages install them."""
    venv.create(tmp_path / "venv", with_pip=True)
    found = tmp_path / "venv" / ("Scripts" if sys.platform == "win32" else "bin")
    packages = ["mcp-server-time", "mcp-server-fetch", "mcp-server-git"]
    subprocess.run([str(found / "python"), "-m", "pip", "install", "-q", *packages], check=True)
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    return found


@pytest.fixture
def page(tmp_path: Path) -> Iterator[str]:
    """The address of a.txt."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(tmp_path))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/a.txt"
        server.shutdown()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.usefixtures("_here")
async def test_a_chat_calls_servers_that_others_wrote(programs: Path, page: str, tmp_path: Path) -> None:
    """Three at once; none of the calls leaves this machine."""
    servers = {
        "time": ToolServer(str(programs / "mcp-server-time")),
        "fetch": ToolServer(str(programs / "mcp-server-fetch"), ("--ignore-robots-txt", "--allow-private-ips")),
        "git": ToolServer(str(programs / "mcp-server-git")),
    }
    asked = {
        "get_current_time": {"timezone": "Asia/Tokyo"},
        "fetch": {"url": page},
        "git_status": {"repo_path": str(tmp_path)},
    }
    engine = Calling(*(call(name, arguments) for name, arguments in asked.items()))
    async with running(engine, config=Config(tool_servers=servers)) as chat:
        await chat.ready()
        await chat.until(lambda: asked.keys() <= chat.app.main.toolbox.tools.keys())
        await chat.enter("When, what and where?")
        for name in asked:
            await chat.until(lambda name=name: name in chat.text_of("#approval"))  # type: ignore[misc]
            await chat.pilot.press("y")
        await chat.until(lambda: chat.texts[-1] == "It is so." and not chat.app.main.busy)
    found = zip(_results(engine), ('"Asia/Tokyo"', "red", "a.txt"), strict=True)
    assert [wanted for result, wanted in found if wanted not in str(result)] == []


@pytest.mark.usefixtures("_here")
async def test_the_folders_tools_stay_in_it(tmp_path: Path) -> None:
    list_files, _ = folder_tools(tmp_path)
    assert await list_files.run({}) == "a.txt\nb.txt"
    toolbox = Toolbox({}, tmp_path, print)
    toolbox.read_folder(tmp_path)
    assert await toolbox.call("read_file", '{"path": "a.txt"}') == "red"
    assert "a path inside the working folder" in await toolbox.call("read_file", '{"path": "../x"}')
    assert "a path inside the working folder" in await toolbox.call("list_files", '{"path": "/"}')
    assert (await toolbox.call("read_file", '{"path": "none"}')).startswith("failed: ")
    (tmp_path / "a.txt").write_text("x" * 50_000)
    assert (await toolbox.call("read_file", '{"path": "a.txt"}')).endswith("[cut: 50,000 characters]")
