"""How many calls of our own functions one streamed chat completion takes: a prompt, one round, and the way out.

    python -m benchmarks.calls [--list]

The application answers in this process, over the bundled models on the CPU, without drafts and with four; earlier
requests have warmed it. Counted, in all threads, are calls of functions whose file lies in specdec/, integrations/ or
tui/ of this checkout. A comprehension is none, nor is a generator or coroutine that goes on. Only public names are used
here, so that the same file counts other versions. Phases are told apart by what is seen from outside:

    socket to queue    in the server, until `astream` or `submit` of the engine returns to it
    opening            from there to the first body sent, which is the first token's
    prompt             in the engine's threads, until the first GenerationEvent is made
    round and token    from there until the second is made; so handing over the first belongs to it
    release            from there until the engine's threads rest
    event to socket    in the server, from the first body sent to the second
    closing            from there to the end
    model passes       `forward` and `run` in runners/ or models/ and all below: what a scripted model would not have

Of maths are those in runners/ or models/, kernels/, sampling/ and threads/.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / folder) for folder in (".", "integrations", "tui")]
OWN = ("specdec/", "integrations/", "tui/")
MODELS = ("specdec/runners/", "specdec/models/")
MATHS = (*MODELS, "specdec/kernels/", "specdec/sampling/", "specdec/threads/")
SERVER = ("socket to queue", "opening", "event to socket", "closing")
ENGINE = ("prompt", "round and token", "release")
PASSES = "model passes"
PHASES = (*SERVER[:2], *ENGINE, *SERVER[2:])
WARM, COUNTED = 2, 5
CHAT = [{"role": "user", "content": "Tell me a story about a fox."}]
ASKED: dict[str, dict[str, Any]] = {"none": {"max_tokens": 2}, "auto": {"max_tokens": 6, "speculative": 4}}
"""For each `draft`, what makes the answer's first token and one round."""
Calls = list[tuple[str, str]]
"""Each one's phase and function."""


class Profile:
    """Sorts calls by phase, in the threads that begin after it was set."""

    def __init__(self) -> None:
        self.calls: Calls = []
        self.sent = self.made = self._asking = self._passing = 0
        self._counting = self._queued = False

    def watch(self, engine: object, event: type) -> None:
        """The engine's threads are all that run by now, but this one."""
        asks = (getattr(type(engine), name, None) for name in ("astream", "submit"))
        self._asks = {ask.__code__ for ask in asks if ask}
        self._makes = event.__init__.__code__  # type: ignore[misc]
        self._threads = {thread.ident for thread in threading.enumerate()} - {threading.get_ident()}

    def begin(self) -> None:
        self.calls = []
        self.sent = self.made = 0
        self._counting, self._queued = True, False

    def end(self) -> Calls:
        """Once the engine's threads rest."""
        seen = -1
        while seen < len(self.calls):
            seen = len(self.calls)
            time.sleep(0.1)
        self._counting = False
        return self.calls

    def __call__(self, frame: FrameType, event: str, _argument: object) -> None:
        if self._counting and event in ("call", "return"):
            engines = threading.get_ident() in self._threads
            (self._in_engine if engines else self._in_server)(frame, 1 if event == "call" else -1)

    def _in_server(self, frame: FrameType, step: int) -> None:
        self._add(SERVER[min(self._queued + self.sent, 3)], frame, step)
        if frame.f_code in self._asks:
            self._asking += step
            self._queued = self._asking == 0

    def _in_engine(self, frame: FrameType, step: int) -> None:
        code = frame.f_code
        self._passing += step * (code.co_name in ("forward", "run") and file_of(frame).startswith(MODELS))
        self._add(PASSES if self._passing else ENGINE[min(self.made, 2)], frame, step)
        self.made += code is self._makes and step < 0

    def _add(self, phase: str, frame: FrameType, step: int) -> None:
        code, file = frame.f_code, file_of(frame)
        is_function = not code.co_name.startswith("<") or code.co_name == "<lambda>"
        begins = step > 0 and frame.f_lineno == code.co_firstlineno  # what goes on stands further down
        if is_function and begins and file.startswith(OWN):
            self.calls.append((phase, f"{file}:{code.co_firstlineno} {code.co_qualname}"))


def file_of(frame: FrameType) -> str:
    return frame.f_code.co_filename.removeprefix(f"{ROOT}/")


async def count(profile: Profile, draft: str) -> list[Calls]:
    """Of several requests, one after another."""
    from httpx import ASGITransport, AsyncClient
    from starlette.types import Message, Receive, Scope, Send

    import specdec
    from specdec_server import create_app

    async def noting(scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            profile.sent += message["type"] == "http.response.body"
            await send(message)

        await app(scope, receive, sending)

    found: list[Calls] = []
    with specdec.load(draft=draft, device="cpu") as engine:
        app = create_app(engine)
        profile.watch(engine, specdec.GenerationEvent)
        body = {"messages": CHAT, "stream": True, "temperature": 0, "ignore_eos": True, **ASKED[draft]}
        async with AsyncClient(transport=ASGITransport(noting), base_url="http://localhost") as client:
            for _ in range(WARM + COUNTED):
                rounds = engine.stats().rounds
                gc.collect()  # what is left of a request is counted with it, not with a later one
                profile.begin()
                answer = await client.post("/v1/chat/completions", json=body)
                gc.collect()
                found.append(profile.end())
                assert answer.text.endswith("data: [DONE]\n\n"), answer.text
                rounds = engine.stats().rounds - rounds
                assert (rounds, profile.made) == (1, 2), f"{rounds} rounds, {profile.made} events"
    return found[WARM:]


def size(calls: Calls) -> int:
    return sum(phase != PASSES for phase, _ in calls)


def report(draft: str, found: list[Calls], *, listing: bool) -> None:
    sizes, best = sorted(map(size, found)), min(found, key=size)
    same = "each" if sizes[0] == sizes[-1] else f"the least; the most are {sizes[-1]}"
    print(f"\ndraft={draft}, {ASKED[draft]}: {len(found)} requests, {same}")
    print(f"{'':<20}{'calls':>6}{'functions':>11}{'of maths':>10}")
    rows = {**{phase: (phase,) for phase in PHASES}, "all of these": PHASES, PASSES: (PASSES,)}
    for name, phases in rows.items():
        functions = [function for phase, function in best if phase in phases]
        maths = sum(function.startswith(MATHS) for function in functions)
        print(f"{name:<20}{len(functions):>6}{len(set(functions)):>11}{maths:>10}")
        for function in functions if listing and name in phases else ():
            print(f"    {function}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--list", action="store_true", help="every call, in its order")
    listing = parser.parse_args().list
    profile = Profile()
    threading.setprofile(profile)
    sys.setprofile(profile)
    for draft in ASKED:
        report(draft, asyncio.run(count(profile, draft)), listing=listing)


if __name__ == "__main__":
    main()
