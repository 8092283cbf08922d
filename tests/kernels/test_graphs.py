"""When graphs of rounds are made: at load and while nothing is asked, never inside an answer."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from specdec.decoding.engine import LocalEngine
from specdec.decoding.rounds import device as device_rounds
from specdec.decoding.rounds.choosing import Shaping
from specdec.decoding.rounds.kinds import HOST, RoundGraphs, RoundKind, likely
from specdec.decoding.speculation.controller import Controller
from specdec.drafters.base import Drafter
from specdec.models import graphs as module
from specdec.models.base import Batch, Model, Pass
from specdec.models.graphs import Graphs, rows_to_capture
from specdec.models.state import Slot
from specdec.types import MAX_SPECULATIVE_TOKENS
from tests.decoding.test_engine import wait_until
from tests.decoding.toy import ToyModel, toy_engine
from tests.kernels.test_runner import load, saved
from tests.models.models import tokens

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="the toy's tensors need Triton's interpreter")

PROMPT = [7, 7]
FORCED: dict[str, Any] = {"temperature": 0, "max_tokens": 12, "ignore_eos": True}


class DeviceToy(ToyModel):
    """The toy, with a part in captured rounds."""

    def __init__(self) -> None:
        super().__init__(slots=2)
        self.cache = torch.cat([self.cache, torch.zeros_like(self.cache[:1])])
        self.capacity, self.spare, self.sizes, self.graph_bytes = self.cache.shape[1], 2, (1, 2), 0
        self.device: Any = self

    def decode(
        self,
        tokens: Tensor,
        slots: Tensor,
        starts: Tensor,
        keep: Tensor | None = None,
        *,
        features: tuple[int, ...] = (),
    ) -> Pass:
        assert keep is None
        assert not features
        found = []
        for row, slot, start in zip(tokens, slots.tolist(), starts.tolist(), strict=True):
            self.cache[slot, start : start + len(row)] = row
            held = self.cache[slot, start - 1 : start + len(row)]
            found.append(self.first[held[1:]] + self.second[held[:-1]])
        return Pass(torch.stack(found))


class Made(Graphs[Any, Any]):
    """Graphs that a CPU can make: they run again. Each notes itself, once `gate` lets it."""

    kinds: list[RoundKind]
    gate: threading.Semaphore
    begun: threading.Event

    def make(self, key: Any, record: Callable[[], Any], *, ran: bool = False) -> None:
        if key not in self:
            self.begun.set()
            self.gate.acquire()
            self.kinds.append(key)
        super().make(key, record, ran=ran)

    def _capture(self, record: Callable[[], Tensor]) -> module._Captured[Tensor]:
        result = record()
        return module._Captured(SimpleNamespace(replay=lambda: result.copy_(record())), result)


def _costs(target: Model, drafters: Sequence[Drafter], controller: Controller) -> None:
    """Each draft more is worth a graph of its own."""
    for rows, seconds in ((1, 1.0), (17, 9.0)):
        controller.verify_cost.observe(rows, seconds)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Made]]:
    Made.kinds, Made.gate, Made.begun = [], threading.Semaphore(1000), threading.Event()
    monkeypatch.setattr("specdec.decoding.engine.calibrate", _costs)
    monkeypatch.setattr(device_rounds, "Graphs", lambda *, capture: Made(capture=not capture))
    first = [RoundKind(rows, k, HOST if k else None) for rows in (1, 2) for k in (0, 2, 4)]
    monkeypatch.setattr(device_rounds, "likely", lambda sizes, drafters, usual: iter(first))
    yield Made
    Made.gate = threading.Semaphore(1000)


@pytest.fixture
def engine(made: type[Made]) -> Iterator[LocalEngine]:
    """It has answered the prompt once, and remembers how."""
    with toy_engine("memory", target=DeviceToy()) as engine:
        engine.generate(PROMPT, **FORCED, speculative="off")
        yield engine


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[RoundKind]:
    """What ran."""
    found: list[RoundKind] = []
    run = RoundGraphs.run

    def noting(self: RoundGraphs, kind: RoundKind, record: Callable[[], Tensor]) -> Tensor:
        found.append(kind)
        return run(self, kind, record)

    monkeypatch.setattr(RoundGraphs, "run", noting)
    return found


def test_no_graph_is_made_inside_an_answer_and_what_was_missed_is_made_after_it(
    engine: LocalEngine, made: type[Made], sent: list[RoundKind]
) -> None:
    before = len(made.kinds)
    first = engine.generate(PROMPT, **FORCED, speculative=3)
    assert len(made.kinds) == before
    assert first.stats.accepted > 3
    assert {kind.drafts for kind in sent} <= {0, 2, 4}
    exact = RoundKind(1, 3, HOST)
    wait_until(lambda: exact in made.kinds)
    sent.clear()
    assert engine.generate(PROMPT, **FORCED, speculative=3).token_ids == first.token_ids
    assert exact in sent


def test_shaping_without_a_graph_runs_by_the_host_until_there_is_one(
    engine: LocalEngine, made: type[Made], sent: list[RoundKind]
) -> None:
    before = len(made.kinds)
    options: dict[str, Any] = {"max_tokens": 12, "ignore_eos": True, "temperature": 0.8, "min_p": 0.2, "seed": 1}
    first = engine.generate(PROMPT, **options, speculative="off")
    assert len(made.kinds) == before
    assert not [kind for kind in sent if kind.shaping.limited]
    wait_until(lambda: any(kind.shaping.limited for kind in made.kinds))
    assert engine.generate(PROMPT, **options, speculative="off").token_ids == first.token_ids
    assert [kind for kind in sent if kind.shaping.limited]


def test_a_request_waits_for_one_graph_at_most(engine: LocalEngine, made: type[Made]) -> None:
    made.gate, before = threading.Semaphore(0), len(made.kinds)
    for length in (3, 5):
        engine.generate(PROMPT, **FORCED, speculative=length)
    made.begun.clear()
    assert made.begun.wait(10), "nothing was made"
    stream = engine.stream(PROMPT, **FORCED, speculative="off")
    made.gate.release()
    assert sum(len(event.tokens) for event in stream) == FORCED["max_tokens"]
    assert len(made.kinds) == before + 1
    made.gate.release()
    wait_until(lambda: len(made.kinds) == before + 2)


def test_a_capture_that_other_code_ends_is_made_when_it_is_missed_again(
    engine: LocalEngine, made: type[Made], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    capture, failed = Made._capture, threading.Event()

    def ended(graphs: Made, record: Callable[[], Tensor]) -> module._Captured[Tensor]:
        if failed.is_set():
            return capture(graphs, record)
        failed.set()
        raise RuntimeError("operation failed due to a previous error during capture\nSearch for")

    monkeypatch.setattr(Made, "_capture", ended)
    first = engine.generate(PROMPT, **FORCED, speculative=3)
    wait_until(lambda: "a graph was not made" in caplog.text)
    assert "Search for" not in caplog.text
    assert engine.generate(PROMPT, **FORCED, speculative=3).token_ids == first.token_ids
    wait_until(lambda: made.kinds.count(RoundKind(1, 3, HOST)) == 2)


def test_a_round_that_was_under_way_is_told_before_others_wait_for_a_first_token(
    engine: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int | str] = []
    first, settle = engine._rounds.first, engine._settle

    def choosing(rows: list[Any], logits: Tensor) -> Any:
        told.append("chosen")
        return first(rows, logits)

    def settling(row: Any, outcome: Any) -> None:
        told.append(row.context.slot)
        settle(row, outcome)

    monkeypatch.setattr(engine._rounds, "first", choosing)
    monkeypatch.setattr(engine, "_settle", settling)
    answer = engine.stream(PROMPT, temperature=0, max_tokens=100, ignore_eos=True, speculative="off")
    for _ in range(5):
        next(answer)
    late = engine.generate([3, 3], temperature=0, max_tokens=2, ignore_eos=True)
    answer.close()
    assert len(late.token_ids) == 2
    second = [place for place, what in enumerate(told) if what == "chosen"][1]
    old = told[1]
    assert told[second + 1] == old
    assert told[second + 2] not in (old, "chosen")


def test_who_takes_its_slot_up_again_under_a_round_does_not_hear_of_it(
    engine: LocalEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a row does that was paused for want of pages: what the round wrote lies in pages that it gave back."""
    how = {**FORCED, "speculative": "off"}
    wanted = engine.generate([3, 3], **how).token_ids
    target, run, taken = engine._target, engine._rounds.run, list[int]()
    assert isinstance(target, DeviceToy)

    def taking(rows: list[Any]) -> Any:
        if engine._rounds.pending and len(rows[0].tokens) % 4 == 0:
            slot = rows[0].context.slot
            held = target.state.slots[slot]
            target.cache[slot, held.length :] = -1
            target.state.slots[slot] = Slot(held.tokens, held.length)
            taken.append(held.length)
        return run(rows)

    monkeypatch.setattr(engine._rounds, "run", taking)
    assert engine.generate([3, 3], **how).token_ids == wanted
    assert taken


def test_a_round_runs_by_the_smallest_graph_that_serves() -> None:
    graphs = RoundGraphs(Made())
    drawn, shaped = Shaping(drawn=True), Shaping(drawn=True, limited=True)
    for kind in (
        RoundKind(1),
        RoundKind(1, shaping=drawn),
        RoundKind(4, shaping=shaped),
        RoundKind(1, 4, "model"),
        RoundKind(2, 4, "model", drawn),
        RoundKind(1, 16, "model"),
    ):
        graphs._graphs._captured[kind] = module._Captured(None, torch.empty(0))
    assert graphs.find(RoundKind(1)) == RoundKind(1)
    assert graphs.find(RoundKind(2)) == RoundKind(4, shaping=shaped)
    assert graphs.find(RoundKind(1, shaping=shaped)) == RoundKind(4, shaping=shaped)
    assert graphs.find(RoundKind(8, shaping=shaped)) is None
    assert graphs.find(RoundKind(1, 3, "model")) == RoundKind(1, 4, "model")
    assert graphs.find(RoundKind(1, 3, "model", drawn)) == RoundKind(2, 4, "model", drawn)
    assert graphs.find(RoundKind(1, 5, "model")) == RoundKind(1, 16, "model")
    assert graphs.find(RoundKind(1, 3, HOST)) is None


@pytest.mark.parametrize("slots", [1, 4, 100])
def test_what_is_likely_serves_usual_answers(slots: int) -> None:
    sizes = rows_to_capture(slots)
    assert {kind.drafts for kind in likely(sizes, {"head": 15}) if kind.source == "head"} == {2, 4, 6, 8, 12, 15}
    own = Shaping.usual({"temperature": 0.7, "top_p": 0.95, "top_k": 20})
    drawn = [kind for kind in likely(sizes, {}, own) if kind.serves(RoundKind(sizes[-1], shaping=own))]
    assert [kind.rows for kind in drawn] == [sizes[-1]] * len(drawn) and drawn
    kinds = list(likely(sizes, {"model": MAX_SPECULATIVE_TOKENS}))
    assert all(any(kind.rows == rows and not kind.drafts and kind.shaping.drawn for kind in kinds) for rows in sizes)
    for rows, shaping in ((1, Shaping()), (1, Shaping(drawn=True, limited=True)), (min(slots, 32), Shaping())):
        for source in ("model", HOST):
            assert any(kind.serves(RoundKind(rows, 4, source, shaping)) for kind in kinds)
    assert max(kind.rows for kind in kinds if kind.drafts) <= 32


def test_a_piece_of_a_prompt_runs_by_the_graph_that_there_is_for_its_last_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until it has one of its own."""

    def capture(_: Any, record: Callable[[], Pass]) -> module._Captured[Pass]:
        result = record()
        return module._Captured(SimpleNamespace(replay=lambda: result.logits.copy_(record().logits)), result)

    saved("llama", tmp_path)
    model, ids = load(tmp_path, torch.device("cpu")), tokens(1, 40)
    pieces = [Batch(ids[:, at : at + 20], [0], [at], at // 20) for at in (0, 20)]
    alone = [model.run(piece).logits for piece in pieces]
    monkeypatch.setattr(Graphs, "_capture", capture)
    model.graphs = Graphs(capture=True)
    model.run(pieces[1])
    assert model.prepare()
    assert model.shape_of(pieces[0]).keep == 1
    found = [model.run(piece).logits for piece in pieces]
    assert [part.shape for part in found] == [part.shape for part in alone]
    assert torch.equal(found[1], alone[1])
