"""The figures of many requests, long chats and the engine in a process of its own, each a ratio within one run."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from statistics import median
from typing import Any

from specdec.bench.figures import Figure
from specdec.bench.prompts import BenchPrompt
from specdec.bench.systems import make_request
from specdec.engine import Deliver, Engine, Progress
from specdec.loading import load_engine
from specdec.process import ProcessEngine
from specdec.types import Completion, GenerationEvent, LoadOptions, Message, Request, Speculative

_MANY = 8
_TURNS = 20
_POLL = 0.0002  # seconds between looks at whether a slot is free


@dataclass(frozen=True, slots=True)
class Serving:
    """What is measured, and how often."""

    loading: LoadOptions
    """With one slot and no memory, which figures change that are about them."""
    prompts: Sequence[BenchPrompt]
    max_tokens: int
    repeats: int
    progress: Progress

    def figures(self) -> Iterator[Figure]:
        """Every promised figure, as soon as it is known."""
        self.progress(f"{_MANY} requests at once", 0.0)
        with self._load(slots=_MANY) as engine:
            yield from self._at_once(engine)
            self.progress("answers that are left", 0.0)
            yield self._cancel(engine)
        self.progress(f"a chat of {_TURNS} turns", 0.0)
        yield self._long_chat()
        self.progress("answers that were given before", 0.0)
        yield self._memory()
        self.progress("an engine in a process of its own", 0.0)
        yield from self._process()

    def _load(self, **changes: Any) -> Engine:
        return load_engine(replace(self.loading, **changes), lambda _stage, _fraction: None)

    def _requests(self, engine: Engine, speculative: Speculative) -> list[Request]:
        """As many as run at once, all of the same length."""
        make = partial(make_request, engine, max_tokens=self.max_tokens, temperature=0.0, ignore_eos=True)
        return [make(self.prompts[i % len(self.prompts)], speculative=speculative) for i in range(_MANY)]

    def _at_once(self, engine: Engine) -> Iterator[Figure]:
        """Tokens per second of all requests at once, by those of one after another."""
        modes: dict[Speculative, list[Request]] = {mode: self._requests(engine, mode) for mode in ("off", "auto")}
        for requests in modes.values():
            _speed(engine, _MANY, requests)  # what happens only the first time
        runs = [
            {f"{n} {mode}": _speed(engine, n, requests) for mode, requests in modes.items() for n in (1, _MANY)}
            for _ in range(self.repeats)
        ]
        on_gpu = engine.info.device.startswith("cuda")
        wanted, drafting = (6.0, 1.0) if on_gpu else (2.5, 2.5)
        for fast, slow, bound in (("off", "off", wanted), ("auto", "off", wanted), ("auto", "auto", drafting)):
            many, one = f"{_MANY} {fast}", f"1 {slow}"
            middle_many, middle_one = (median(run[name] for run in runs) for name in (many, one))
            detail = f"{middle_many:.0f} and {middle_one:.0f} tokens/s"
            value = median(run[many] / run[one] for run in runs)
            yield Figure(f"{many} / {one}, total tokens/s", value, bound, detail=detail)

    def _cancel(self, engine: Engine) -> Figure:
        """How much longer than one round it takes from `close()` to a free slot, at worst."""
        request = make_request(engine, self.prompts[0], 64, temperature=0.0, ignore_eos=True, speculative="off")
        over = []
        for i in range(5 * self.repeats):
            events, times = engine.stream(replace(request, id=f"{i}")), [time.perf_counter()]
            for _ in range(5 + i % 20):
                next(events)
                times.append(time.perf_counter())
            start = time.perf_counter()
            events.close()
            while engine.stats().active:
                time.sleep(_POLL)
            freed = time.perf_counter() - start
            over.append((freed - max(b - a for a, b in pairwise(times[1:]))) * 1e3)
        rounds = f"{len(over)} times, median {median(over):.1f} ms"
        return Figure("cancel to free slot, ms beyond a round", max(over), 10.0, at_most=True, detail=rounds)

    def _long_chat(self) -> Figure:
        """Time to first token of the last turn, where the turns before were answered here, and where nothing was."""
        ratios, detail = [], ""
        with self._load(prefix_cache_bytes=None) as warm, self._load() as cold:
            chat: list[Message] = []
            for turn in range(_TURNS - 1):
                said = f"Tell me more about the fox, the bell and the {turn + 2} birds in the garden."
                chat.append(Message("user", said))
                chat.append(Message("assistant", _answer(warm, chat, 32).text or "Yes."))
            for repeat in range(self.repeats):
                last = [*chat, Message("user", f"{repeat + 2} days later, what did the fox do?")]
                cold.generate("Something else.", max_tokens=1)
                known, new = (_answer(engine, last, 2) for engine in (warm, cold))
                ratios.append(known.timing.ttft / new.timing.ttft)
                times = f"{known.timing.ttft * 1e3:.0f} and {new.timing.ttft * 1e3:.0f} ms"
                detail = f"{times}, {known.usage.cached_tokens} of {known.usage.prompt_tokens} tokens cached"
        return Figure(f"TTFT of turn {_TURNS} / the same cold", median(ratios), 0.15, at_most=True, detail=detail)

    def _memory(self) -> Figure:
        """Decode speed of work that was done before, with and without the memory of answers."""
        with self._load(remember=32_768) as engine, self._load() as forgetful:
            requests = self._requests(engine, "auto")[:2]
            speeds = []
            for repeat in range(1 + self.repeats):
                pair = [[e.generate(replace(r, id=f"{repeat}")) for r in requests] for e in (engine, forgetful)]
                speeds.append([median(c.tokens_per_second for c in answers) for answers in pair])
        knows, new = speeds[-1]
        detail = f"{knows:.0f} and {new:.0f} tokens/s"
        return Figure("repeated answers, memory / none", median(a / b for a, b in speeds[1:]), 1.0, detail=detail)

    def _process(self) -> Iterator[Figure]:
        """One answer here and in a child process, by turns."""
        lost, late = [], list[float]()
        with self._load() as here, ProcessEngine(partial(stamped, self.loading)) as there:
            requests = self._requests(here, "off")
            for turn in range(2 + 4 * self.repeats):
                wanted = replace(requests[turn % _MANY], id=f"{turn}")
                order = [here, there] if turn % 2 else [there, here]
                speeds = {}
                for engine in order:  # by the listener's clock, between the first event and the last
                    times, tokens = list[float](), 0
                    for event in engine.stream(wanted):
                        now = time.perf_counter()
                        if event.tokens:
                            times.append(now)
                            tokens += len(event.tokens)
                        if event.request_id != wanted.id:
                            late.append(now - float(event.request_id))
                    speeds[engine] = (tokens - 1) / (times[-1] - times[0])
                lost.append(1 - speeds[there] / speeds[here])
            detail = f"{speeds[here]:.0f} tokens/s here, {speeds[there]:.0f} in the child"
        yield Figure("ProcessEngine's overhead", median(lost[2:]), 0.03, at_most=True, detail=detail)
        yield Figure("events late, ms (median)", median(late) * 1e3, 5.0, at_most=True, detail=f"{len(late)} events")


def _speed(engine: Engine, at_once: int, requests: Sequence[Request]) -> float:
    """Tokens per second of all requests, so many at once."""
    fresh = [replace(r, id=f"{i}") for i, r in enumerate(requests)]
    start = time.perf_counter()
    with ThreadPoolExecutor(at_once) as pool:
        tokens = sum(len(answer.tokens) for answer in pool.map(engine.generate, fresh))
    return tokens / (time.perf_counter() - start)


def _answer(engine: Engine, chat: Sequence[Message], max_tokens: int) -> Completion:
    prompt = BenchPrompt("chat", tuple(chat))
    return engine.generate(make_request(engine, prompt, max_tokens, temperature=0.0, ignore_eos=True))


def stamped(options: LoadOptions, progress: Progress) -> Engine:
    """Makes the child's engine, whose events say when they were handed over: the clock is the same in both."""
    engine = load_engine(options, progress)
    submit = engine.submit

    def submit_stamped(request: Request, deliver: Deliver) -> Callable[[], None]:
        def deliver_stamped(item: GenerationEvent | BaseException) -> None:
            if isinstance(item, GenerationEvent):
                item = replace(item, request_id=f"{time.perf_counter()}")
            deliver(item)

        return submit(request, deliver_stamped)

    engine.submit = submit_stamped  # type: ignore[method-assign]
    return engine
