"""What the target answers: token ids, in a file that only grows, so that nothing is answered twice."""

from __future__ import annotations

import json
import queue
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

from specdec.bench.prompts import BenchPrompt
from specdec.engine import Engine
from specdec.errors import InvalidRequest, PromptTooLong
from specdec.training.prompts import key_of
from specdec.training.workspace import unwritten
from specdec.types import GenerationEvent, Request, SamplingParams

_LEAST = 16
"""Tokens of an answer that time did not suffice for, so that it is kept."""
_GROUPS = 8
"""Shares of the slots that get their next prompts together: all other answers wait while prompts are read."""
_WAIT = 0.2
"""Seconds between looks at the clock while answers are awaited."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A prompt and the target's answer to it, its end token included."""

    key: str
    category: str
    prompt: tuple[int, ...]
    answer: tuple[int, ...]

    @property
    def tokens(self) -> tuple[int, ...]:
        return self.prompt + self.answer


class AnswerFile:
    """Answers by their prompts' keys, one a line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known: dict[str, Answered] = dict(self._read())

    def _read(self) -> Iterator[tuple[str, Answered]]:
        """The last line may have been cut off; then it is answered again."""
        if not self.path.exists():
            return
        for line in self.path.read_bytes().split(b"\n"):
            try:
                key, category, prompt, answer = json.loads(line)
            except ValueError:
                continue
            yield key, Answered(key, category, tuple(prompt), tuple(answer))

    def append(self, *answers: Answered) -> None:
        """Kept once this returns."""
        self.known.update((answered.key, answered) for answered in answers)
        lines = [json.dumps([a.key, a.category, a.prompt, a.answer]) + "\n" for a in answers]
        try:
            with self.path.open("a", encoding="ascii") as file:
                file.write(("\n" if self._cut_off() else "") + "".join(lines))
        except OSError as error:
            raise unwritten(self.path, error) from error

    def _cut_off(self) -> bool:
        """Whether the file ends within a line."""
        if not self.path.stat().st_size:
            return False
        with self.path.open("rb") as file:
            file.seek(-1, 2)
            return file.read(1) != b"\n"


@dataclass(frozen=True, slots=True)
class AnswerTask:
    """How prompts are answered."""

    greedy: bool
    """Else by the target's own sampling, which its generation config names."""
    longest: int
    length: int
    """Of prompt and answer together."""
    seed: int

    def request(self, engine: Engine, prompt: BenchPrompt, key: str) -> Request:
        """Its tools are in the prompt, if the target knows any, and the answer is free: what it calls follows no
        grammar. Raises InvalidRequest for a prompt that leaves no room for an answer, or that the chat template
        refuses."""
        chat = engine.info.chat_template
        tokens = engine.tokenize(prompt.content(chat), prompt.tools if engine.info.tool_format else ())
        room = min(self.longest, self.length - len(tokens))
        if room < 2:
            raise PromptTooLong("prompt", len(tokens), f"at most {self.length - 2} tokens, to leave room for an answer")
        seed = (self.seed + int(key, 16)) % 2**31
        sampling = SamplingParams(max_tokens=room, seed=seed, temperature=0.0 if self.greedy else None)
        return Request(tokens, sampling, speculative="off", remember=False)


def answer_all(
    engine: Engine, prompts: Iterable[BenchPrompt], file: AnswerFile, task: AnswerTask, go_on: Callable[[], bool]
) -> list[InvalidRequest]:
    """Have the prompts answered that are not yet, as many at once as there are slots, while `go_on` says so. What is
    under way when it ends is kept as far as it came. Returns why prompts were left out."""
    slots = engine.info.slots
    finished: queue.SimpleQueue[Answered | BaseException] = queue.SimpleQueue()
    running: dict[str, tuple[_Answering, Callable[[], None]]] = {}
    left_out: list[InvalidRequest] = []
    asked, ready = _asked(engine, prompts, file, task, left_out), list[tuple[Answered, Request]]()
    try:
        while go_on():
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
            if kept := [found for found in answers if len(found.answer) > 1]:
                file.append(*kept)
        cut = (answering.answered for answering, _ in running.values())
        if kept := [found for found in cut if len(found.answer) >= _LEAST]:
            file.append(*kept)
    finally:
        for _, cancel in running.values():
            cancel()
    return left_out


def _asked(
    engine: Engine, prompts: Iterable[BenchPrompt], file: AnswerFile, task: AnswerTask, left_out: list[InvalidRequest]
) -> Iterator[tuple[Answered, Request]]:
    """What is asked for, of the prompts that were not answered yet."""
    for prompt in prompts:
        if (key := key_of(prompt)) in file.known:
            continue
        try:
            request = task.request(engine, prompt, key)
        except InvalidRequest as error:
            left_out.append(error)
        else:
            tokens = tuple(token for token in request.prompt if isinstance(token, int))
            yield Answered(key, prompt.category, tokens, ()), request


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

    @property
    def answered(self) -> Answered:
        """As far as it came."""
        return replace(self.asked, answer=tuple(self.tokens))

    def deliver(self, event: GenerationEvent | BaseException) -> None:
        if isinstance(event, BaseException):
            self.finished.put(event)
            return
        self.tokens.extend(token.id for token in event.tokens)
        if event.end is not None:
            if isinstance(event.end.stop, int):
                self.tokens.append(event.end.stop)
            self.finished.put(self.answered)
