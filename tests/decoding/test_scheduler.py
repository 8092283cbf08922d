"""Who is served next, who has to go, and what is said to those who wait."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import pytest

from specdec.decoding import prefill
from specdec.decoding.engine import LocalEngine
from specdec.decoding.scheduler import AGING, Scheduler
from specdec.decoding.sequence import Running
from specdec.errors import DeadlineExceeded, EngineBusy, InvalidRequest
from specdec.models.base import Batch, Pass
from specdec.models.prefixes import PrefixTree
from specdec.models.state import SlotState
from specdec.types import Request
from tests.decoding.toy import ToyModel, toy_engine
from tests.engine_contract import eventually
from tests.fakes import end_of

LONG: dict[str, Any] = {"temperature": 0, "max_tokens": 200, "ignore_eos": True}


@pytest.fixture(scope="module")
def engine() -> Iterator[LocalEngine]:
    with toy_engine() as engine:
        yield engine


class Desk:
    """A scheduler with a clock that is moved by hand; rows are told apart by their request's id."""

    def __init__(self, engine: LocalEngine, slots: int = 1, limit: int = 100) -> None:
        self.engine, self.time = engine, 0.0
        self.state = SlotState(slots, PrefixTree(lambda *_: ()))
        self.scheduler = Scheduler(self.state, limit, lambda: self.time)

    def submit(self, name: str, prompt: Sequence[int] = (1,), **options: Any) -> Running:
        row = self.engine._admission.admit(Request.of(list(prompt), id=name, **options), lambda _: None)
        row.deadline += self.time - row.received
        row.received = self.time
        self.scheduler.submit(row)
        return row

    @property
    def order(self) -> str:
        return "".join(row.request.id for row in self.scheduler.waiting())

    def serve(self) -> str:
        """Let everybody in, one after another."""
        served = ""
        while not self.scheduler.idle:
            self.scheduler.admit()
            served += "".join(row.request.id for row in self.scheduler.running.values())
            for row in list(self.scheduler.running.values()):
                self.scheduler.release(row)
        return served


def test_first_come_first_served(engine: LocalEngine) -> None:
    desk = Desk(engine)
    for name in "abcd":
        desk.submit(name)
    assert desk.order == desk.serve() == "abcd"


def test_higher_priority_goes_first(engine: LocalEngine) -> None:
    desk = Desk(engine)
    for name, priority in (("a", 0), ("b", 1), ("c", -1), ("d", 1)):
        desk.submit(name, priority=priority)
    assert desk.order == desk.serve() == "bdac"


def test_clients_take_turns(engine: LocalEngine) -> None:
    desk = Desk(engine, slots=2)
    for name in "abcd":
        desk.submit(name, client="busy")
    for name in "xy":
        desk.submit(name, client="calm")
    assert desk.order == "axbycd"
    desk.scheduler.admit()
    assert {row.request.id for row in desk.scheduler.running.values()} == {"a", "x"}
    desk.submit("z", client="new")
    assert desk.order == "zbycd"


def test_waiting_raises_the_priority(engine: LocalEngine) -> None:
    desk = Desk(engine)
    desk.submit("a", priority=0)
    desk.time = 2 * AGING
    desk.submit("b", priority=2)
    desk.submit("c", priority=3)
    assert desk.order == "cab"


def test_a_full_queue_says_so_and_those_who_left_do_not_count(engine: LocalEngine) -> None:
    desk = Desk(engine, limit=2)
    left = desk.submit("a")
    desk.submit("b")
    with pytest.raises(EngineBusy, match="2 requests are waiting"):
        desk.submit("c")
    left.cancelled = True
    desk.submit("c")


def test_who_waits_is_told_where_and_how_long(engine: LocalEngine) -> None:
    desk = Desk(engine)
    desk.submit("a", client="one")
    desk.time = 3.0
    desk.submit("b", priority=2)
    first, second = desk.scheduler.queue()
    assert (first.request_id, first.position, first.seconds, first.priority) == ("b", 1, 0.0, 2)
    assert (second.request_id, second.position, second.seconds, second.client) == ("a", 2, 3.0, "one")


def test_who_has_to_go(engine: LocalEngine) -> None:
    desk = Desk(engine)
    desk.submit("a", timeout=5)
    desk.submit("b").cancelled = True
    desk.submit("c", timeout=50)
    desk.time = 6.0
    assert "".join(row.request.id for row in desk.scheduler.leaving()) == "ab"


def test_the_slot_that_shares_most_is_taken(engine: LocalEngine) -> None:
    desk = Desk(engine, slots=3)
    for name, prompt in (("a", [1, 2, 3]), ("b", [1, 2, 3, 4, 5]), ("c", [7])):
        desk.submit(name, prompt)
    desk.scheduler.admit()
    for row in list(desk.scheduler.running.values()):
        desk.state.begin(row.context.slot, row.tokens)
        desk.state.commit(row.context.slot, len(row.tokens))
        desk.scheduler.release(row)
    row = desk.submit("d", [1, 2, 3, 4, 9])
    desk.scheduler.admit()
    assert (row.context.slot, desk.state.begin(row.context.slot, row.tokens)) == (1, 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"priority": 101}, "priority is 101; expected a whole number from -100 to 100"),
        ({"priority": 0.5}, "priority is 0.5"),
        ({"client": 7}, "client is 7; expected a name"),
        ({"timeout": 0}, "timeout is 0; expected seconds, more than 0"),
        ({"timeout": float("nan")}, "timeout is nan"),
    ],
)
def test_wrong_turns_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        Request.of("a", **options)


# ---- the engine at it


def test_the_queue_is_seen_in_the_stats_and_time_in_it_in_the_answer() -> None:
    with toy_engine(slots=1) as engine:
        running = engine.stream("abc", **LONG)
        next(running)
        waiting = engine.stream([5], max_tokens=1, client="c", priority=1)
        (queued,) = engine.stats().queue
        assert (queued.position, queued.client, queued.priority, engine.stats().queued) == (1, "c", 1, 1)
        assert queued.seconds > 0
        running.close()
        timing = end_of(list(waiting)).timing
        assert timing.queued and 0 < timing.queued <= timing.ttft


def test_a_request_that_is_cancelled_while_it_waits_never_runs() -> None:
    with toy_engine(slots=1, queue_limit=1) as engine:
        running = engine.stream("abc", **LONG)
        next(running)
        waiting = engine.stream("abc", **LONG)
        with pytest.raises(EngineBusy):
            engine.stream("abc", **LONG)
        waiting.close()
        eventually(lambda: engine.stats().queued == 0)
        assert (engine.stats().active, engine.stats().cancelled) == (1, 1)
        engine.stream("abc", **LONG).close()


def test_a_deadline_ends_what_runs_and_what_waits() -> None:
    with toy_engine(target=ToyModel(slots=1, context=8000)) as engine:  # more tokens than fit into the time
        running = engine.stream("abc", temperature=0, ignore_eos=True, timeout=0.1)
        waiting = engine.stream("abc", **LONG, timeout=0.001)
        with pytest.raises(DeadlineExceeded, match=r"timeout is 0.001 s; expected more: .* still waits"):
            list(waiting)
        with pytest.raises(DeadlineExceeded, match=r"timeout is 0.1 s.* \d+ tokens were written"):
            list(running)
        assert engine.generate("abc", max_tokens=2, ignore_eos=True).usage.completion_tokens == 2


class WatchedModel(ToyModel):
    """Notes each pass: how many rows, how wide."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.shapes: list[tuple[int, int]] = []

    def run(self, batch: Batch) -> Pass:
        self.shapes.append((batch.tokens.shape[0], batch.tokens.shape[1]))
        return super().run(batch)


async def test_running_streams_wait_for_one_chunk_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefill, "SIZES", (30,))
    monkeypatch.setattr(prefill, "STALL", 1e-9)  # any chunk takes longer
    target = WatchedModel(slots=3)
    with toy_engine(target=target) as engine:
        running = engine.astream("abc", **LONG)
        await running.__anext__()
        prompts = [[i, *range(200)] for i in range(2)]
        await asyncio.gather(*(engine.agenerate(p, max_tokens=1, ignore_eos=True) for p in prompts))
        await running.aclose()
    chunks = [i for i, (_, width) in enumerate(target.shapes) if width > 17]
    assert len(chunks) == 2 * 7
    assert all(b - a >= 2 for a, b in pairwise(chunks))


async def test_short_prompts_are_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefill, "STALL", 60.0)  # however busy the machine is
    target = WatchedModel(slots=4)
    with toy_engine(target=target) as engine:
        running = engine.astream("abc", **LONG)
        await running.__anext__()
        with engine._wake:  # the three come at one time
            streams = [engine.stream([i, *range(19)], max_tokens=1, ignore_eos=True) for i in range(3)]
        for stream in streams:
            list(stream)
        await running.aclose()
    widths = [width for _, width in target.shapes]
    first = widths.index(20)
    assert widths[first : first + 3] == [20, 20, 20]
