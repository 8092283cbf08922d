"""LocalEngine: one worker thread, one `step()` = schedule, prefill a chunk, run a round, emit.

Callers' threads only check requests, put them into the queue and read their own outbox; the models are touched by the
worker alone.
"""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from operator import attrgetter
from typing import Any, TypeVar, Unpack

import torch
from torch import Tensor

from specdec.decoding.admission import Admission
from specdec.decoding.forms import AnswerForms
from specdec.decoding.prefill import Prefill
from specdec.decoding.rounds.host import FirstTokens
from specdec.decoding.rounds.runner import RoundRunner
from specdec.decoding.scheduler import Scheduler
from specdec.decoding.sequence import Outcome, Running
from specdec.decoding.speculation.calibration import calibrate, try_out
from specdec.decoding.speculation.controller import Controller
from specdec.drafters.base import Drafter, Seen
from specdec.engine import Deliver, Engine, to_count
from specdec.errors import (
    EngineClosed,
    EngineFailed,
    GrammarFailed,
    InvalidLogits,
    InvalidRequest,
    OutOfMemory,
)
from specdec.grammars.compiler import GrammarCompiler
from specdec.models.base import Model
from specdec.models.pages import PoolFull
from specdec.streams import AsyncStream, SyncStream
from specdec.text.tokenizer import Tokenizer
from specdec.text.tools.formats import AnswerFormat
from specdec.threads.count import spare_one
from specdec.types import AcceptRule, EngineInfo, EngineStats, GenerationEvent, Message, Request, RequestOptions

T = TypeVar("T")
_PAUSE = 0.05
"""Seconds without any request after which it is time for what takes long."""
_TRIAL = "Tell me a short story about a girl who goes to the market to buy some bread."
"""What drafters are tried out on at load."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a LocalEngine is assembled from."""

    target: Model
    tokenizer: Tokenizer
    drafters: Sequence[Drafter]
    info: EngineInfo
    defaults: dict[str, float]
    """The checkpoint's own sampling parameters."""
    eos_ids: frozenset[int]
    accept_rule: AcceptRule
    queue_limit: int = 256
    answer_format: AnswerFormat = field(default_factory=AnswerFormat)
    alone: bool = False
    """See `RoundRunner`."""


class LocalEngine(Engine):
    """The engine in this process. Stays alive until `close()`."""

    def __init__(self, parts: Parts) -> None:
        self._info, self._target = parts.info, parts.target
        self._controller = Controller()
        self._rounds = RoundRunner(parts.target, parts.drafters, self._controller, parts.accept_rule, alone=parts.alone)
        self._state = parts.target.state
        self._prefill = Prefill(
            parts.target, self._controller.chunk_costs, self._rounds.observers, self._rounds.features
        )
        self._scheduler = Scheduler(self._state, parts.queue_limit)
        grammars = GrammarCompiler(parts.tokenizer, parts.target.info.vocab_size, sorted(parts.eos_ids))
        forms = AnswerForms(grammars, parts.answer_format)
        self._admission = Admission(
            parts.target.info, parts.tokenizer, parts.defaults, parts.eos_ids, self._controller.acceptance, forms
        )
        self._take_cores()
        self._rounds.warm_up(parts.defaults)
        calibrate(parts.target, parts.drafters, self._controller)
        try_out(parts.target, parts.drafters, self._controller, _asked(parts.tokenizer))
        self._stats = EngineStats()
        self._wake = threading.Condition()
        self._closed = False
        self._failure: BaseException | None = None
        self._worker = threading.Thread(target=self._work, name="specdec-worker", daemon=True)
        self._worker.start()
        atexit.register(self.close)

    @property
    def info(self) -> EngineInfo:
        return self._info

    @property
    def down(self) -> str | None:
        if self._failure:
            return f"the engine failed and is closed: {self._failure!r}"
        return "the engine is closed" if self._closed else None

    def stats(self) -> EngineStats:
        device = self._target.info.device
        with self._wake:
            active, queue = len(self._scheduler.running), self._scheduler.queue()
            return replace(
                self._stats,
                active=active,
                queued=len(queue),
                queue=queue,
                speculation=self._controller.decision,
                warning=self._controller.warning,
                prefix_tokens=self._state.prefixes.tokens,
                graph_bytes=self._rounds.graph_bytes,
                device_bytes=torch.cuda.memory_reserved(device) if device.type == "cuda" else None,
            )

    def tokenize(
        self, prompt: Request | str | Iterable[Any], tools: Sequence[Mapping[str, Any]] = ()
    ) -> tuple[int, ...]:
        return self._admission.tokenize(to_count(prompt, tools))

    def stream(self, prompt: Request | str | Iterable[Any], **options: Unpack[RequestOptions]) -> SyncStream:
        events = SyncStream()
        row = self._submit(Request.of(prompt, **options), events.put)
        events.on_close = lambda: self._cancel(row)
        return events

    def astream(self, prompt: Request | str | Iterable[Any], **options: Unpack[RequestOptions]) -> AsyncStream:
        request = Request.of(prompt, **options)
        events = AsyncStream()
        if request.tools or request.sampling.grammar:  # a grammar may take more than a second to compile
            self._check_open()
            events.enter(lambda deliver: self.submit(request, deliver))
        else:
            row = self._submit(request, events.put)
            events.on_close = lambda: self._cancel(row)
        return events

    def submit(self, request: Request, deliver: Deliver) -> Callable[[], None]:
        """See `Engine.submit`. `deliver` is called in the worker's thread, and must not block."""
        row = self._submit(request, deliver)
        return lambda: self._cancel(row)

    def close(self) -> None:
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._worker.join()
        atexit.unregister(self.close)

    def _submit(self, request: Request, deliver: Deliver) -> Running:
        row = self._admission.admit(request, deliver)
        with self._wake:
            self._check_open()
            self._scheduler.submit(row)
            self._wake.notify()
        return row

    def _check_open(self) -> None:
        if down := self.down:
            raise EngineClosed(f"{down}; load a new one") from self._failure

    @staticmethod
    def _cancel(row: Running) -> None:
        # No lock: this may run inside a garbage collection in any thread. The worker sees the flag next round.
        row.cancelled = True

    def _take_cores(self) -> None:
        """For the thread that calls this: torch asks each anew."""
        if self._target.info.device.type == "cpu":
            spare_one()

    def _work(self) -> None:
        self._take_cores()
        try:
            with torch.inference_mode():
                while not self._closed:
                    self._step()
            self._abandon(EngineClosed("the engine was closed before the answer was finished"))
        except BaseException as error:  # noqa: BLE001 - whatever it was, those who wait must hear of it
            self._failure = error
            failed = EngineFailed(self.down)
            failed.__cause__ = error
            self._abandon(failed)

    def _step(self) -> None:
        """Schedule, read some of the prompts, run a round."""
        self._await()
        with self._wake:
            leaving = self._scheduler.leaving()
        for row in leaving:
            self._end(row, None if row.cancelled else row.overdue(), cancelled=int(row.cancelled))
        with self._wake:
            self._scheduler.admit()
            rows = list(self._scheduler.running.values())
        prompts = [row for row in rows if not row.prefilled]
        begun: list[tuple[Running, Tensor]] = []
        alone = len(prompts) == len(rows)
        for row in self._prefill.turns(prompts, alone=alone):
            if self._runs(row):  # else it gave its slot up as the one before was read
                self._within_memory([row], partial(self._read, row, begun))
        first = self._first(begun) if begun else None
        if first and (alone or not self._rounds.pending):
            self._begin(first)
            first = None
        # by slot: rows that lie side by side in the cache are read together without a copy
        decoding = [row for row in rows if row.prefilled and row.finish is None]
        decoding.sort(key=attrgetter("context.slot"))
        if decoding:
            if not prompts:  # a first token is worth more than a faster answer
                self._rounds.catch_up(decoding)
            self._within_memory(decoding, partial(self._decode, decoding))
        if first:  # a round that was under way is told before, as it ended before
            self._begin(first)

    def _runs(self, row: Running) -> bool:
        return self._scheduler.running.get(row.context.slot) is row

    def _await(self) -> None:
        """Until there is something to do. Meanwhile what answers have missed is made ready, one thing at a time: a
        request waits for one at most, and one that follows at once for none."""
        pause: float | None = _PAUSE
        while True:
            with self._wake:
                while self._scheduler.idle and not self._closed:
                    if not self._wake.wait(pause):
                        break
                else:
                    return
            pause = _PAUSE if self._rounds.prepare() else None

    def _within_memory(self, rows: Sequence[Running], work: Callable[[], T]) -> T | None:
        """What some work gives. Where the device has no room left for it, the youngest of its rows fails, and the
        others go on; where only pages are wanting, the youngest that runs waits."""
        try:
            return work()
        except PoolFull as error:
            with self._wake:
                youngest = self._scheduler.pause()
            if youngest is None:
                self._fail(rows[0], error)
            else:  # it gives its pages back, and goes on when others have left
                self._state.leave(youngest.context.slot)
                self._rounds.release(youngest)
        except torch.OutOfMemoryError as error:
            self._fail(max(rows, key=lambda row: row.context.sequence_id), error)
            if self._target.info.device.type == "cuda":
                torch.cuda.empty_cache()
        return None

    def _fail(self, row: Running, error: torch.OutOfMemoryError) -> None:
        self._state.commit(row.context.slot, 0)  # keeping what its slot holds would take memory
        failed = OutOfMemory(
            f"{self._info.device} has no memory left for this request; expected fewer at once, or a smaller context"
        )
        failed.__cause__ = error
        self._end(row, failed)

    def _decode(self, rows: list[Running]) -> None:
        """One round for all whose prompts are through."""
        outcomes = self._rounds.run(rows)
        rounds = [outcome.round for outcome in outcomes if outcome is not None and outcome.round is not None]
        drafted, accepted = sum(len(round.drafted) for round in rounds), sum(round.accepted for round in rounds)
        self._add(rounds=len(rounds), drafted=drafted, accepted=accepted)  # before anyone hears of it
        for row, outcome in zip(rows, outcomes, strict=True):
            if outcome is not None:
                self._settle(row, outcome)

    def _read(self, row: Running, begun: list[tuple[Running, Tensor]]) -> None:
        """The next chunk of the prompt; after the last one its answer has `begun`, with these logits [1, 1, V]."""
        logits = self._prefill.advance(row)
        if logits is not None:
            begun.append((row, logits))
        elif row.request.progress and not row.written:
            done = self._state.slots[row.context.slot].length / len(row.tokens)
            row.deliver(GenerationEvent(row.request.id, prefilled=done))

    def _first(self, begun: list[tuple[Running, Tensor]]) -> FirstTokens | None:
        """Have first tokens of answers chosen. Where there is no memory the youngest fails, and the others go on."""
        begun = [(row, logits) for row, logits in begun if not row.paused]  # as the next prompts were read
        while begun:
            rows = [row for row, _ in begun]
            choose = partial(self._rounds.first, rows, torch.cat([logits for _, logits in begun]))
            if (found := self._within_memory(rows, choose)) is not None:
                return found
            begun = [(row, logits) for row, logits in begun if self._runs(row)]
        return None

    def _begin(self, first: FirstTokens) -> None:
        """Begin answers with their first tokens."""
        for row, token, logits in zip(first.rows, first.tokens.wait(), first.logits, strict=True):
            if not row.paused:  # meanwhile
                self._within_memory([row], partial(self._settle, row, Outcome([token], None, logits)))

    def _settle(self, row: Running, outcome: Outcome) -> None:
        """Commit what a pass decided, emit it, and free the slot if the answer is finished."""
        start = len(row.tokens) - 1
        try:
            event = row.commit(outcome)
        except (GrammarFailed, InvalidLogits) as error:
            if isinstance(error, InvalidLogits):
                self._state.wipe(row.context.slot)
            self._end(row, error)
            return
        if round := outcome.round:
            seen = round.accepted + 1
            self._state.commit(row.context.slot, min(start + seen, len(row.tokens)))
            features = None if outcome.features is None else outcome.features[:seen]
            for drafter in self._rounds.observers:
                drafter.observe(Seen(row.context, start, seen, features, round.drafter, outcome.on_device))
        if event.end is not None:
            self._end(row, event, finished=1, **asdict(event.end.usage))
        elif event.text or event.tokens or event.round:
            row.deliver(event)
        if outcome.round is None and event.end is None:
            # others may begin like this one while it is still written; its last token is never taken from what is known
            self._state.save(row.context.slot, row.context.prompt_length - 1)

    def _end(self, row: Running, last: GenerationEvent | BaseException | None, **counts: int) -> None:
        """Out of its slot, or of the queue, and the `last` that its reader hears. What it leaves there is kept."""
        try:
            with self._wake:
                ran = self._scheduler.release(row)
                self._add(**counts)
            if ran:
                self._state.leave(row.context.slot)
            self._rounds.release(row)
        finally:  # the row is nobody's by now: what fails there must not keep its reader waiting
            if last is not None:
                row.deliver(last)

    def _add(self, **counts: int) -> None:
        self._stats = replace(self._stats, **{name: getattr(self._stats, name) + n for name, n in counts.items()})

    def _abandon(self, error: BaseException) -> None:
        """Tell everyone who still waits."""
        with self._wake:
            self._closed = True
            left = self._scheduler.everyone()
            for row in left:
                self._scheduler.release(row)
        for row in left:
            row.deliver(error)


def _asked(tokenizer: Tokenizer) -> Sequence[int]:
    """A question, written as the model knows questions."""
    with suppress(InvalidRequest):  # no template, or one that does not take it
        return tokenizer.chat([Message("user", _TRIAL)]).tokens
    return tokenizer.encode(_TRIAL)
