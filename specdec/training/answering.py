"""Having the target answer: as many prompts at once as there are slots."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import chain, islice, zip_longest

from specdec.bench.prompts import BenchPrompt
from specdec.engine import Engine
from specdec.errors import InvalidRequest, PromptTooLong
from specdec.training.answers import Answered, AnswerFile
from specdec.training.made_up import CATEGORY, MadeUp, Words
from specdec.training.prompts import held_out, key_of
from specdec.types import GenerationEvent, Request, SamplingParams

_LEAST = 16
"""Tokens of an answer that time did not suffice for, so that it is kept."""
_GROUPS = 8
"""Shares of the slots that get their next prompts together: all other answers wait while prompts are read."""
_WAIT = 0.2
"""Seconds between looks at the clock while answers are awaited."""
_KEPT_EVERY = 45.0
"""Seconds after which answers under way are kept as far as they came: a slow target's take minutes."""


@dataclass(frozen=True, slots=True)
class AnswerTask:
    """How prompts are answered."""

    greedy: bool
    """Else by the target's own sampling, which its generation config names."""
    longest: int
    length: int
    """Of prompt and answer together."""
    seed: int
    times: int = 1
    """Answers to each prompt, with other seeds."""

    def begin(
        self, engine: Engine, prompt: BenchPrompt, again: int = 0, begun: Answered | None = None
    ) -> tuple[Answered, Request]:
        """What is asked for, or the rest of what was `begun`. Its tools are in the prompt, if the target knows any, and
        the answer is free: what it calls follows no grammar. Raises InvalidRequest for a prompt that leaves no room for
        an answer, or that the chat template refuses."""
        key, chat = key_of(prompt, again), engine.info.chat_template
        tokens = engine.tokenize(prompt.content(chat), prompt.tools if engine.info.tool_format else ())
        room = min(self.longest, self.length - len(tokens))
        if room < 2:
            raise PromptTooLong("prompt", len(tokens), f"at most {self.length - 2} tokens, to leave room for an answer")
        # a template may hold today's date: then the answer begins anew
        said = begun.answer[: room - 1] if begun is not None and begun.prompt == tokens else ()
        seed = (self.seed + int(key, 16)) % 2**31  # chance is by the position: the rest is what it would have been
        sampling = SamplingParams(max_tokens=room - len(said), seed=seed, temperature=0.0 if self.greedy else None)
        request = Request(tokens + said, sampling, speculative="off", remember=False)
        return Answered(key, prompt.category, tokens, said), request


def answer_all(
    engine: Engine,
    prompts: Sequence[BenchPrompt],
    file: AnswerFile,
    task: AnswerTask,
    go_on: Callable[[], bool],
    made_up: MadeUp | None = None,
) -> list[InvalidRequest]:
    """Have the prompts answered that are not yet, and those that are `made_up`, as many at once as there are slots,
    while `go_on` says so. What is under way when it ends is kept as far as it came; what is when this is interrupted,
    or dies, goes on from there the next time. Returns why prompts were left out."""
    slots = engine.info.slots
    finished: queue.SimpleQueue[Answered | BaseException] = queue.SimpleQueue()
    running: dict[str, tuple[_Answering, Callable[[], None]]] = {}
    left_out: list[InvalidRequest] = []
    sources = _asked(engine, prompts, file, task, left_out), _made_up(engine, made_up, file, task)
    asked = _by_turns(*sources) if made_up is not None and made_up.by_turns else chain(*sources)
    ready: list[tuple[Answered, Request]] = []
    kept = time.monotonic()

    def under_way() -> list[Answered]:
        return [answering.answered for answering, _ in running.values()]

    if made_up is not None:  # its earlier prompts are known no more
        _keep(file, [one for one in file.begun.values() if one.category == CATEGORY], _LEAST)
    try:
        while go_on():
            if time.monotonic() - kept > _KEPT_EVERY:
                kept = time.monotonic()
                _keep(file, under_way(), 1, begun=True)
            ready += islice(asked, slots - len(ready))
            if len(running) <= slots - max(1, slots // _GROUPS):
                free = slots - len(running)
                for begun, request in ready[:free]:
                    answering = _Answering(begun, finished)
                    running[begun.key] = answering, engine.submit(request, answering.deliver)
                del ready[:free]
            if not running:
                break
            answers = list(_taken(finished))
            for found in answers:
                del running[found.key]
                if made_up is not None and isinstance(found, Words):
                    made_up.take(found)
            _keep(file, answers, 2)
        _keep(file, under_way(), _LEAST)
    except KeyboardInterrupt:
        _keep(file, under_way(), 1, begun=True)
        raise
    finally:
        for _, cancel in running.values():
            cancel()
    return left_out


def _keep(file: AnswerFile, found: Sequence[Answered], least: int, *, begun: bool = False) -> None:
    """Those answers that have so many tokens."""
    if kept := [one for one in found if len(one.answer) >= least and not isinstance(one, Words)]:
        (file.keep if begun else file.append)(*kept)


def _asked(
    engine: Engine, prompts: Sequence[BenchPrompt], file: AnswerFile, task: AnswerTask, left_out: list[InvalidRequest]
) -> Iterator[tuple[Answered, Request]]:
    """What is asked for, of the prompts that were not answered yet."""
    for again in range(task.times):
        for prompt in prompts:
            if (key := key_of(prompt, again)) in file.known:
                continue
            try:
                yield task.begin(engine, prompt, again, file.begun.get(key))
            except InvalidRequest as error:
                if not again:
                    left_out.append(error)


def _made_up(
    engine: Engine, made_up: MadeUp | None, file: AnswerFile, task: AnswerTask
) -> Iterator[tuple[Answered, Request]]:
    """Prompts that wait for an answer, else words for more of them."""
    while made_up is not None and (made_up.waiting or made_up.pays):
        if not made_up.waiting:
            yield made_up.begin()
        elif (key := key_of(prompt := made_up.waiting.popleft())) not in file.known:
            judged = made_up.by_turns and held_out(key)
            with suppress(InvalidRequest):
                yield (replace(task, greedy=True) if judged else task).begin(engine, prompt)


def _by_turns(*sources: Iterator[tuple[Answered, Request]]) -> Iterator[tuple[Answered, Request]]:
    for found in zip_longest(*sources):
        yield from (one for one in found if one is not None)


def _taken(finished: queue.SimpleQueue[Answered | BaseException]) -> Iterator[Answered]:
    """All that there are; where there are none, those that come in a moment."""
    with suppress(queue.Empty):
        found = finished.get(timeout=_WAIT)
        while True:  # each look at the clock, the screen and the disk takes time from the engine
            if isinstance(found, BaseException):
                raise found
            yield found
            found = finished.get_nowait()


@dataclass(frozen=True, slots=True)
class _Answering:
    """Takes one request's events, and hands what was `asked` over with its answer at their end."""

    asked: Answered
    finished: queue.SimpleQueue[Answered | BaseException]
    tokens: list[int] = field(default_factory=list)
    """Behind what it had said before."""

    @property
    def answered(self) -> Answered:
        """As far as it came."""
        return replace(self.asked, answer=(*self.asked.answer, *self.tokens))

    def deliver(self, event: GenerationEvent | BaseException) -> None:
        if isinstance(event, BaseException):
            self.finished.put(event)
            return
        self.tokens.extend(token.id for token in event.tokens)
        if event.end is not None:
            found, stop = self.answered, event.end.stop
            self.finished.put(replace(found, answer=(*found.answer, stop)) if isinstance(stop, int) else found)
