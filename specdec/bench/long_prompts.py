"""What long prompts cost: their own first token, the answer beside them, and decoding behind them."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import count, pairwise
from statistics import median
from threading import Event

from specdec.engine import Engine, Progress
from specdec.errors import InvalidRequest
from specdec.loading import load_engine
from specdec.types import Completion, LoadOptions

_SHORT = 32
"""Tokens of the prompt of the answer beside."""
_BEGUN = 8
"""Its events before the long prompt is sent."""


@dataclass(frozen=True, slots=True)
class LongPrompt:
    """Medians, of plain decoding. Times in seconds."""

    tokens: int
    ttft: float
    """With nothing beside it."""
    ttft_beside: float
    """While another answer is written."""
    gap: float
    """The longest one of that answer meanwhile."""
    decode: float
    """Tokens per second behind it."""
    decode_short: float
    """Tokens per second behind a few tokens."""


def long_prompts(
    loading: LoadOptions, lengths: Sequence[int], max_tokens: int, repeats: int, progress: Progress
) -> Iterator[LongPrompt]:
    """One for each of `lengths`, in tokens. No prompt begins like another, so that none is known."""
    with _loaded(loading, max(lengths), 2 * max_tokens + _SHORT) as engine:
        fresh = count()
        for at, length in enumerate(lengths):
            progress(f"prompts of {length:,} tokens", sum(lengths[:at]) / sum(lengths))
            _answer(engine, length, 2, next(fresh))  # what happens only the first time
            alone = [_answer(engine, length, max_tokens, next(fresh)) for _ in range(repeats)]
            short = [_answer(engine, _SHORT, max_tokens, next(fresh)) for _ in range(repeats)]
            beside = [_beside(engine, length, next(fresh)) for _ in range(repeats)]
            yield LongPrompt(
                length,
                median(one.timing.ttft for one in alone),
                median(ttft for ttft, _ in beside),
                median(gap for _, gap in beside),
                median(one.tokens_per_second for one in alone),
                median(one.tokens_per_second for one in short),
            )


def _loaded(loading: LoadOptions, longest: int, beside: int) -> Engine:
    """With room for the longest prompt, and what stands beside it."""
    try:
        asked = replace(loading, slots=2, context=loading.context or longest + beside)
        return load_engine(asked, lambda _stage, _done: None)
    except InvalidRequest as error:
        if error.field != "context" or loading.context is not None:
            raise
        expected = f"{error.expected}, of which {beside} are for short prompts and answers"
        raise InvalidRequest("prompt_tokens", longest, expected) from error


def _prompt(engine: Engine, length: int, number: int) -> list[int]:
    """Token ids that no other number begins with."""
    known = engine.info.vocab_size - 4
    return [3 + (number * 131 + at * 7) % known for at in range(length)]


def _answer(engine: Engine, length: int, max_tokens: int, number: int) -> Completion:
    prompt = _prompt(engine, length, number)
    return engine.generate(prompt, max_tokens=max_tokens, temperature=0.0, ignore_eos=True, speculative="off")


def _beside(engine: Engine, length: int, number: int) -> tuple[float, float]:
    """Seconds to the first token of a long prompt while another answer is written, and the longest gap in that one."""
    begun, over, times = Event(), Event(), list[float]()

    def write() -> None:
        prompt, room = _prompt(engine, _SHORT, number), engine.info.context - _SHORT
        try:
            with closing(
                engine.stream(prompt, max_tokens=room, temperature=0.0, ignore_eos=True, speculative="off")
            ) as events:
                for event in events:
                    if event.tokens:
                        times.append(time.perf_counter())
                    if len(times) == _BEGUN:
                        begun.set()
                    if over.is_set():
                        return
        finally:  # whoever waits for it must not wait for an answer that has ended
            begun.set()

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        begun.wait()
        sent = time.perf_counter()
        try:
            answer = _answer(engine, length, 2, number)
        finally:
            over.set()
        writing.result()
    gaps = [b - a for a, b in pairwise(times) if b > sent]
    if not gaps:
        expected = "more: the answer beside a prompt ended before that was read"
        raise InvalidRequest("context", engine.info.context, expected)
    return answer.timing.ttft, max(gaps)
