"""An Engine without a model: it answers with scripted tokens, at a pace that the test decides."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

from specdec.engine import Deliver, Engine, to_count
from specdec.errors import EngineClosed
from specdec.text.tools.formats import TOOL_FORMATS, AnswerFormat
from specdec.text.tools.parser import AnswerParser, Parser
from specdec.types import (
    Delta,
    DrafterStats,
    Ending,
    EngineInfo,
    EngineStats,
    FinishReason,
    GenerationEvent,
    Message,
    Request,
    Round,
    SpecStats,
    Speculation,
    Timing,
    Token,
    Usage,
    merged,
)

SCRIPT = (
    "Once",
    " upon",
    " a",
    " time",
    ",",
    " a",
    " fox",
    " found",
    " a",
    " bell",
    ".",
    " The",
    " end",
    ".",
)

SCRIPTED_INFO = EngineInfo(
    target="scripted", draft="scripted-draft", architecture="Script", backend="eager", device="cpu",
    dtype="float32", context=256, vocab_size=1000, slots=2, drafters=("lookup", "model"), accept_rule="coupled",
    chat_template=True, parameters=16_000_000, draft_parameters=1_500_000, weight_bytes=70_000_000,
    cache_bytes=9_000_000, tool_format="hermes", reasoning=True,
)  # fmt: skip
ANSWER_FORMAT = AnswerFormat(TOOL_FORMATS["hermes"], ("<think>", "</think>"))
_IDLE = EngineStats(speculation=Speculation(True, "pays", ("model",), 3, 100.0, 200.0))


class ScriptedEngine(Engine):
    """Answers every request with `script`, one token in the first event, then `width` a round when speculating.

    Scripts may hold tool calls and reasoning in the Hermes way: `<think>fine</think>`, `call("add", {"a": 1})`. Calls
    are read as such where the request offers tools.

    `hold` = n keeps every answer waiting before its n-th event until `go_on()` or a cancel; it never waits otherwise.
    """

    def __init__(
        self,
        script: Sequence[str] = SCRIPT,
        *,
        info: EngineInfo = SCRIPTED_INFO,
        width: int = 3,
        hold: int | None = None,
        speculative_script: Sequence[str] | None = None,
        off_reason: str | None = None,
    ) -> None:
        self.script, self.width, self.hold, self.off_reason = script, width, hold, off_reason
        self.speculative_script = speculative_script or script
        self.requests: list[Request] = []
        self.gate = threading.Event()
        self.closed = False
        self._info = info
        self._stats = _IDLE
        self._lock = threading.Lock()
        self._seeds = count(1000)

    @property
    def info(self) -> EngineInfo:
        return self._info

    @property
    def down(self) -> str | None:
        return "the engine is closed" if self.closed else None

    def stats(self) -> EngineStats:
        with self._lock:
            return self._stats

    def tokenize(
        self, prompt: Request | str | Iterable[Any], tools: Sequence[Mapping[str, Any]] = ()
    ) -> tuple[int, ...]:
        return tuple(range(_prompt_tokens(to_count(prompt, tools))))

    def stream(self, prompt: Request | str | Iterable[Any], **options: Any) -> ScriptedStream:
        return ScriptedStream(self, *self._admit(Request.of(prompt, **options)))

    def astream(self, prompt: Request | str | Iterable[Any], **options: Any) -> ScriptedAsyncStream:
        return ScriptedAsyncStream(self, *self._admit(Request.of(prompt, **options)))

    def submit(self, request: Request, deliver: Deliver) -> Callable[[], None]:
        events = self.stream(request)

        def answer() -> None:
            try:
                for event in events:
                    deliver(event)
                    time.sleep(0.001)  # a round takes a while
            except EngineClosed as error:
                deliver(error)

        threading.Thread(target=answer, daemon=True).start()
        return events.close

    def close(self) -> None:
        self.closed = True
        self.gate.set()

    def go_on(self) -> None:
        """Let held answers continue."""
        self.gate.set()

    def add(self, **counts: int) -> None:
        with self._lock:
            new = {name: getattr(self._stats, name) + n for name, n in counts.items()}
            self._stats = replace(self._stats, **new)

    def _admit(self, request: Request) -> tuple[Request, list[GenerationEvent]]:
        if self.down:
            raise EngineClosed(f"{self.down}; load a new one")
        self.requests.append(request)
        self.add(active=1)
        return request, self._events(request)

    def _events(self, request: Request) -> list[GenerationEvent]:
        drafting = request.speculative not in ("off", 0)
        script = self.speculative_script if drafting else self.script
        limit = request.sampling.max_tokens or len(script)
        width = self.width if drafting else 1
        texts = list(script[:limit])
        tokens = [Token(10 + i, text, self._origin(i, width)) for i, text in enumerate(texts)]
        groups = self._groups(tokens, width)
        rounds = [None, *(self._round(group, drafting) for group in groups[1:])]
        parser = self._parser(request)
        deltas, reasoned = list[list[Delta]](), 0
        for group in groups:
            deltas.append([])
            for token in group:
                thinking = parser.thinking
                deltas[-1] += parser.push(token.id, token.text)
                reasoned += thinking and parser.thinking
        finish: FinishReason = "length" if len(script) > limit else "stop"
        deltas[-1] += parser.finish(cut=finish == "length")
        events = [
            GenerationEvent(request.id, "".join(t.text for t in group), tuple(group), round, merged(new))
            for group, round, new in zip(groups, rounds, deltas, strict=True)
        ]
        usage = Usage(_prompt_tokens(request), len(tokens), 0, reasoned)
        return [*events[:-1], self._last(events[-1], request, usage, rounds, finish)]

    @staticmethod
    def _groups(tokens: Sequence[Token], width: int) -> list[Sequence[Token]]:
        """As events bring them."""
        return [tokens[:1], *(tokens[i : i + width] for i in range(1, len(tokens), width))]

    def _parser(self, request: Request) -> Parser:
        return AnswerParser(ANSWER_FORMAT, calls=bool(request.tools), thoughts=self._info.reasoning)

    @staticmethod
    def _origin(index: int, width: int) -> Any:
        if width == 1 or index == 0:
            return "plain"
        return "bonus" if index % width == 0 else "accepted"

    @staticmethod
    def _round(group: Sequence[Token], drafting: bool) -> Round:
        drafted = tuple(t.id for t in group[:-1]) if drafting else ()
        return Round("model" if drafting else None, drafted, len(drafted), 0.001, 0.002)

    def _last(
        self,
        event: GenerationEvent,
        request: Request,
        usage: Usage,
        rounds: Sequence[Round | None],
        finish: FinishReason,
    ) -> GenerationEvent:
        seed = next(self._seeds) if request.sampling.seed is None else request.sampling.seed
        done = [r for r in rounds if r is not None]
        drafted = sum(len(r.drafted) for r in done)
        widths = [sum(len(r.drafted) > i for r in done) for i in range(self.width - 1)]
        drafters = (DrafterStats("model", *[tuple(widths)] * 3),) if drafted else ()
        off = (
            Speculation(why="unavailable", detail=self.off_reason) if self.off_reason else Speculation(why="requested")
        )
        decided = Speculation(on=True, why="pays") if drafted else off
        return replace(
            event,
            end=Ending(
                finish,
                usage,
                Timing(0.0, 0.010, 0.010 + 0.004 * len(done)),
                SpecStats(len(done), drafters, decided),
                seed,
            ),
        )


def call(name: str, arguments: Mapping[str, Any]) -> list[str]:
    """A call as a script's tokens, a few letters each."""
    text = "<tool_call>\n" + json.dumps({"name": name, "arguments": arguments}) + "\n</tool_call>"
    return [text[i : i + 5] for i in range(0, len(text), 5)]


def _prompt_tokens(request: Request) -> int:
    return sum(len(p.content or "") if isinstance(p, Message) else 1 for p in request.prompt)


class _Stream:
    """What both kinds of stream share: where they are, and that they can be left."""

    def __init__(self, engine: ScriptedEngine, request: Request, events: list[GenerationEvent]) -> None:
        self._engine, self._request, self._events = engine, request, events
        self.taken = 0
        """Events so far."""
        self._left = False

    @property
    def _held(self) -> bool:
        return self._engine.hold is not None and self.taken >= self._engine.hold and not self._engine.gate.is_set()

    def _next(self) -> GenerationEvent | None:
        if self._left or self.taken == len(self._events):
            return None
        if self._engine.closed:
            self._leave()
            raise EngineClosed("the engine was closed before the answer was finished")
        event = self._events[self.taken]
        self.taken += 1
        if event.end:
            self._engine.add(active=-1, finished=1, completion_tokens=event.end.usage.completion_tokens or 0)
        return event

    def _leave(self) -> None:
        if not self._left and self.taken < len(self._events):
            self._left = True
            self._engine.add(active=-1, cancelled=1)

    def __del__(self) -> None:
        self._leave()  # whoever drops a stream has left it


class ScriptedStream(_Stream):
    def __iter__(self) -> ScriptedStream:
        return self

    def __next__(self) -> GenerationEvent:
        try:
            if self._held and not self._left:
                self._engine.gate.wait()
        except KeyboardInterrupt:
            self._leave()
            raise
        event = self._next()
        if event is None:
            raise StopIteration
        return event

    def close(self) -> None:
        self._leave()


class ScriptedAsyncStream(_Stream):
    def __aiter__(self) -> ScriptedAsyncStream:
        return self

    async def __anext__(self) -> GenerationEvent:
        try:
            if self._held and not self._left:
                await asyncio.to_thread(self._engine.gate.wait, 20)
            await asyncio.sleep(0)  # as where an event is waited for: others run
        except asyncio.CancelledError:
            self._leave()
            raise
        event = self._next()
        if event is None:
            raise StopAsyncIteration
        return event

    async def aclose(self) -> None:
        self._leave()


def end_of(events: Sequence[GenerationEvent]) -> Ending:
    """How a finished stream ended."""
    end = events[-1].end
    assert end is not None
    return end
