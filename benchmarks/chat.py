"""Figures of the terminal chat: is it on time, does it answer keys, what does it cost?

    python benchmarks/chat.py                  all of them
    python benchmarks/chat.py prose fence      some; table-40x5, table-20x25 and table-200x3 are rows by columns
    python benchmarks/chat.py decoding-8b      decoding with a pair of the size of Llama-3.1-8B and 3.2-1B, on a GPU

The app runs in a terminal (a pty of 120x40) of its own and saves as ever; scripted answers come at a fixed pace, three
tokens a round. Each scenario prints one JSON line. The targets are for a quiet machine with 2 cores.
"""

from __future__ import annotations

import asyncio
import json
import os
import pty
import resource
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from fcntl import ioctl
from functools import partial
from math import exp, log, sqrt
from pathlib import Path
from statistics import mean, median, quantiles, stdev
from struct import pack
from termios import TIOCSWINSZ
from threading import Thread
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
WIDTH, HEIGHT = 120, 40
KEY_EVERY = 0.1
LAST = "finis."
TABLES = ((40, 5), (20, 25), (200, 3))
"""Rows and columns."""
DECODING = {"max_tokens": 400, "temperature": 0.8, "ignore_eos": True, "speculative": 4}
"""Drafts of one length: `auto` decides otherwise from one answer to the next."""
STORY = "Tell me a long story about a fox who finds a bell."


@dataclass(frozen=True)
class Pace:
    """What comes how fast."""

    words: list[str]
    per_second: float

    @property
    def seconds(self) -> float:
        return len(self.words) / self.per_second


def prose(per_second: float = 500, seconds: float = 8) -> Pace:
    sentence = "The fox went down to the river and *listened* to the bell for a while. ".split(" ")
    words = [f"{w} " if i % 90 else f"\n\n{w} " for i in range(10_000) for w in [sentence[i % len(sentence)]]]
    return Pace([*words[: int(per_second * seconds)], LAST], per_second)


def fence(per_second: float = 500, lines: int = 400) -> Pace:
    body = [
        w for i in range(lines) for w in ("    ", "value", f"_{i}", " = ", "ring", "(", f"{i}", ")", "  # ", "ok\n")
    ]
    return Pace(["Here:\n\n", "```python\n", *body, "```\n\n", LAST], per_second)


def table(rows: int, columns: int, per_second: float = 200) -> Pace:
    """A cell is three tokens."""
    words = ["Here:\n\n", *(f"| name_{c} " for c in range(columns)), "|\n", "| :--- " * columns, "|\n"]
    for row in range(rows):
        words += [w for c in range(columns) for w in ("| ", f"fox {row} ", f"**bell** {c} ")]
        words += ["|\n"]
    return Pace([*words, "\n", LAST], per_second)


# ------------------------------------------------------------------------------- inside the terminal


def paced(pace: Pace) -> Any:
    """An engine that sends each round when it is due, and several at once when it was kept waiting."""
    from tests.fakes import ScriptedEngine

    class Paced(ScriptedEngine):
        begun = 0.0
        """When the first round of the last answer could have been due."""

        def astream(self, prompt: Any, **options: Any) -> Any:
            stream = super().astream(prompt, **options)

            async def events() -> AsyncIterator[Any]:
                self.begun, sent = time.perf_counter(), 0
                async for event in stream:
                    sent += len(event.tokens)
                    wait = self.begun + sent / pace.per_second - time.perf_counter()
                    if wait > 0:
                        await asyncio.sleep(wait)
                    yield event

            return events()

    return Paced(pace.words, width=3)


async def inside(app: Any, scenario: Callable[[Any], Coroutine[Any, Any, dict[str, Any]]], out: Path) -> None:
    while app.engines.engine is None or not app.main.gauges:
        await asyncio.sleep(0.01)
    try:
        out.write_text(json.dumps(await scenario(app)))
    finally:
        app.exit()


async def on_time(app: Any, pace: Pace, *, tokens: bool = False) -> dict[str, Any]:
    """Ask once, type all the while, and see when the end of the answer is on the screen."""
    if tokens:
        app.main.show_tokens(-1)
        app.main.prompt.focus()
    lags: list[float] = []
    work: list[float] = []
    drawn = _watch(app)
    typing = asyncio.create_task(_type(app, lags, work))
    cpu = time.process_time()
    app.main.submit("Go")
    wall = await drawn - app.engines.engine.begun
    cpu = time.process_time() - cpu
    typing.cancel()
    return {
        "tokens": len(pace.words),
        "late_percent": round(100 * (wall / pace.seconds - 1), 2),
        "key_ms_p50": round(1000 * median(lags), 1),
        "key_ms_p95": round(1000 * quantiles(lags, n=20)[-1], 1),
        "key_cpu_ms_p95": round(1000 * quantiles(work, n=20)[-1], 1),
        "cpu_percent": round(100 * cpu / wall, 1),
    }


def _watch(app: Any) -> asyncio.Future[float]:
    """The time at which the answer's last word is written to the terminal."""
    driver = app._driver  # noqa: SLF001
    write, drawn = driver.write, asyncio.get_running_loop().create_future()

    def watching(data: str) -> None:
        write(data)
        if LAST in data and not drawn.done():
            drawn.set_result(time.perf_counter())

    driver.write = watching
    return drawn


async def _type(app: Any, lags: list[float], work: list[float]) -> None:
    """A key now and then, how long until it stands in the prompt, and how long this thread worked until then."""
    from textual import events

    while True:
        before, pressed, worked = len(app.main.prompt.text), time.perf_counter(), time.thread_time()
        app.post_message(events.Key("x", "x"))
        while len(app.main.prompt.text) == before:
            await asyncio.sleep(0.001)
        lags.append(time.perf_counter() - pressed)
        work.append(time.thread_time() - worked)
        await asyncio.sleep(KEY_EVERY)


async def turns(app: Any, count: int = 200) -> dict[str, Any]:
    """Resident memory as the chat grows; 50 turns in, everything has been imported and every cache is warm."""
    sizes = []
    for number in range(1, count + 1):
        await _answered(app, f"Prompt {number}")
        if number in (50, count):
            sizes.append(_resident())
    return {
        "turns": count,
        "mb_after_50": sizes[0],
        "mb_after_all": sizes[1],
        "grown_mb": round(sizes[1] - sizes[0], 1),
    }


async def _answered(app: Any, prompt: str) -> None:
    app.main.submit(prompt)  # waiting must not wake: each look would stop the engine on one of its cores
    await app.workers.wait_for_complete([w for w in app.workers if w.group == "answer"])


def _resident() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return round(pages * resource.getpagesize() / 1e6, 1)


async def decoding(app: Any, seeds: int = 10, each: int = 10) -> dict[str, Any]:
    """Decode speed of the same requests with and without the screen, in turns; the engine is one and the same.

    An answer on the screen is compared with those before and after it: a machine's own speed drifts.
    """
    await _shown(app, 0)  # warm
    logs = []
    for seed in range(seeds):
        bare = await _bare(app, seed)
        for _ in range(each):
            shown = await _shown(app, seed)
            before, bare = bare, await _bare(app, seed)
            logs.append(log(shown) - (log(before) + log(bare)) / 2)
    return {
        "ratio": round(exp(mean(logs)), 3),
        "standard_error": round(stdev(logs) / sqrt(len(logs)), 3),
        "ratios": [round(exp(x), 3) for x in logs],
    }


async def _shown(app: Any, seed: int) -> float:
    await _ready(app, seed)
    await _answered(app, STORY)
    figures = app.main.chat.conversation.last("assistant").figures
    assert figures["tokens"] == DECODING["max_tokens"]
    return float(figures["tokens_per_second"])


async def _bare(app: Any, seed: int) -> float:
    from specdec.types import Completion, Message

    await _ready(app, seed)
    request = app.main.chat.settings.request((Message("user", STORY),))
    answer: Completion = await asyncio.to_thread(app.engines.engine.generate, request)
    assert answer.usage.completion_tokens == DECODING["max_tokens"]
    return answer.tokens_per_second


async def _ready(app: Any, seed: int) -> None:
    """A new chat, before either way."""
    await app.main.open(None)
    app.main.chat.configure(app.main.chat.settings.with_values({**DECODING, "seed": seed}))


def forgetful(_choice: Any, progress: Any) -> Any:
    """The bundled pair without memory: the second of two same answers would be drafted from the first."""
    from specdec.process import ProcessEngine
    from specdec_tui.core.frames import FRAME

    return ProcessEngine.load(slots=1, remember=0, progress=progress, gather=FRAME)


def large(_choice: Any, progress: Any) -> Any:
    from benchmarks.gpu import shaped
    from specdec.process import ProcessEngine
    from specdec_tui.core.frames import FRAME

    return ProcessEngine(partial(shaped, "8b", 1), progress=progress, gather=FRAME)


def inner(name: str, out: Path) -> None:
    from specdec_tui.app import ChatApp
    from specdec_tui.core.config import Config

    paces = {
        "prose": prose(),
        "fence": fence(),
        "tokens": prose(2000, 5),
        "turns": Pace(["ok "] * 30, 20_000),
        **{f"table-{rows}x{columns}": table(rows, columns) for rows, columns in TABLES},
    }
    scenarios: dict[str, Callable[[Any], Coroutine[Any, Any, dict[str, Any]]]] = {
        **{name: partial(on_time, pace=pace) for name, pace in paces.items()},
        "tokens": lambda app: on_time(app, paces["tokens"], tokens=True),
        "turns": turns,
        "decoding": decoding,
        "decoding-8b": decoding,
    }
    openings = {"decoding": forgetful, "decoding-8b": large}
    opening: Any = openings.get(name) or (lambda *_: paced(paces[name]))
    app = ChatApp(Config(), opening, database=out.with_suffix(".db"))
    app.call_later(lambda: app.run_worker(inside(app, scenarios[name], out), group="bench"))
    asyncio.run(app.run_async())


# ------------------------------------------------------------------------------ outside the terminal


def in_terminal(command: list[str], seen: bytes | None = None) -> float:
    """Run in a pty; seconds until `seen` was written, or until the end."""
    began = time.perf_counter()
    pid, terminal = pty.fork()
    if not pid:
        os.environ.update(TERM="xterm-256color", COLORTERM="truecolor")
        os.environ.pop("NO_COLOR", None)
        os.execv(command[0], command)
    ioctl(terminal, TIOCSWINSZ, pack("HHHH", HEIGHT, WIDTH, 0, 0))
    output = b""
    with suppress(OSError):
        while seen is None or seen not in output:
            output = output[-4096:] + os.read(terminal, 65536)
    seconds = time.perf_counter() - began
    if seen:
        os.kill(pid, 9)
    Thread(target=os.close, args=(terminal,)).start()
    os.waitpid(pid, 0)
    return seconds


def start(tries: int = 7) -> dict[str, Any]:
    """From nothing to the first paint, and to the app's own first frame."""
    command = [sys.executable, "-m", "specdec", "chat", "--unsaved"]
    found = {}
    for name, mark in (("first_paint_s", b"Ask something below"), ("app_s", b"or / for commands")):
        times = [in_terminal(command, mark) for _ in range(tries)]
        found[name] = {"best": round(min(times), 3), "median": round(median(times), 3)}
    bare = [in_terminal([sys.executable, "-c", "print('x')"], b"x") for _ in range(tries)]
    return {**found, "python_alone_s": round(min(bare), 3)}


def main() -> None:
    tables = [f"table-{rows}x{columns}" for rows, columns in TABLES]
    names = sys.argv[1:] or ["start", "prose", "fence", *tables, "tokens", "turns", "decoding"]
    if names[0] == "--inner":
        inner(names[1], Path(names[2]))
        return
    for name in names:
        if name == "start":
            print(json.dumps({"start": start()}), flush=True)
            continue
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder, "result")
            in_terminal([sys.executable, __file__, "--inner", name, str(out)])
            text = out.read_text() if out.exists() else '"no result"'
        print(json.dumps({name: json.loads(text)}), flush=True)


if __name__ == "__main__":
    main()
