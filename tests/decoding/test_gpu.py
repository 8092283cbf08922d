"""On a GPU, in bf16: one text for each prompt and seed, whatever is drafted and however many are answered at once.

`SPECDEC_PROMPTS` names a .jsonl file of prompts (as for `specdec bench`); without it, the built-in ones.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import torch

import specdec
from specdec.bench.prompts import built_in, from_file
from specdec.engine import Engine
from specdec.models.graphs import Graphs
from specdec.types import GenerationEvent, Request

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]

TOKENS, LONGEST, SEED = 128, 1500, 3
TEMPERATURES = (0.0, 0.8)
MODES: list[tuple[str, Any, int]] = [
    ("auto", "off", 4), ("auto", "off", 16), *(("auto", k, 16) for k in range(1, 9)), ("auto", 4, 1), ("auto", 3, 4),
    ("auto", "auto", 16), ("lookup", "auto", 16), ("lookup", 4, 4),
]  # fmt: skip
"""Draft, `speculative`, and how many at once; each against plain decoding, one at a time."""


@pytest.fixture(scope="module")
def engines() -> Iterator[dict[str, Engine]]:
    kinds = {
        draft: specdec.load(draft=draft, device="cuda", dtype="bfloat16", slots=16, prefix_cache_bytes=0)
        for draft in ("auto", "lookup")
    }
    yield kinds
    for engine in kinds.values():
        engine.close()


@pytest.fixture(scope="module")
def prompts(engines: dict[str, Engine]) -> list[tuple[int, ...]]:
    file = os.environ.get("SPECDEC_PROMPTS")
    chosen = from_file(Path(file)) if file else built_in()
    return [engines["auto"].tokenize(p.messages)[-LONGEST:] for p in chosen]


def _texts(
    engine: Engine, prompts: list[tuple[int, ...]], temperature: float, speculative: Any, together: int
) -> list[tuple[int, ...]]:
    def one(ids: tuple[int, ...]) -> tuple[int, ...]:
        return engine.generate(
            ids, max_tokens=TOKENS, temperature=temperature, seed=SEED, speculative=speculative
        ).token_ids

    with ThreadPoolExecutor(together) as pool:
        return list(pool.map(one, prompts))


@pytest.fixture(scope="module")
def plain(engines: dict[str, Engine], prompts: list[tuple[int, ...]]) -> dict[float, list[tuple[int, ...]]]:
    return {t: _texts(engines["auto"], prompts, t, "off", 1) for t in TEMPERATURES}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("temperature", TEMPERATURES)
@pytest.mark.parametrize(("draft", "speculative", "together"), MODES)
def test_one_text(
    draft: str, speculative: Any, together: int, temperature: float,
    engines: dict[str, Engine], prompts: list[tuple[int, ...]], plain: dict[float, list[tuple[int, ...]]],
) -> None:  # fmt: skip
    found = _texts(engines[draft], prompts, temperature, speculative, together)
    differing = [i for i, (a, b) in enumerate(zip(found, plain[temperature], strict=True)) if a != b]
    assert differing == []


def test_no_answer_waits_for_a_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that it begins with are made at load, where Triton's compiler makes nobody wait; others while idle."""
    made: list[tuple[int, float]] = []
    worker = set[int]()  # other engines of this process, idle by now, make graphs too
    capture = Graphs._capture

    def noting(self: Graphs[Any, Any], record: Any) -> Any:
        made.append((threading.get_ident(), time.monotonic()))
        return capture(self, record)

    with specdec.load(device="cuda", dtype="bfloat16", slots=1) as engine:
        monkeypatch.setattr(Graphs, "_capture", noting)
        for options in ({"speculative": "off"}, {"speculative": 5, "min_p": 0.1}, {"top_k": 500, "speculative": 3}):
            seen, ended = list[float](), threading.Event()

            def deliver(  # on the engine's thread: this one may be late
                event: GenerationEvent | BaseException, seen: list[float] = seen, ended: threading.Event = ended
            ) -> None:
                assert isinstance(event, GenerationEvent)
                seen += [time.monotonic()] * len(event.tokens)
                if event.end is not None:
                    worker.add(threading.get_ident())
                    ended.set()

            engine.submit(Request.of(range(3, 33), max_tokens=40, temperature=0.5, ignore_eos=True, **options), deliver)
            assert ended.wait(60)
            assert len(seen) == 40
            assert not [moment for thread, moment in made if thread in worker and seen[0] < moment < seen[-1]]
        deadline = time.monotonic() + 20
        while not any(thread in worker for thread, _ in made):
            assert time.monotonic() < deadline, "nothing that was missed was made"
            time.sleep(0.01)


def test_other_code_that_waits_for_the_device_ends_no_answer(
    engines: dict[str, Engine], prompts: list[tuple[int, ...]], plain: dict[float, list[tuple[int, ...]]]
) -> None:
    """Such a wait fails while a graph is being made, and the graph with it; the engine lives on."""
    stopped = threading.Event()

    def wait() -> None:
        while not stopped.is_set():
            with suppress(torch.AcceleratorError):
                torch.cuda.synchronize()

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        for options in ({"speculative": 7}, {"min_p": 0.001, "temperature": 0.5}, {"speculative": 6}):
            engines["auto"].generate(prompts[0], max_tokens=40, seed=1, **options)
            time.sleep(0.3)  # while graphs are made
    finally:
        stopped.set()
        thread.join()
    assert _texts(engines["auto"], prompts[:4], 0.0, "auto", 4) == plain[0.0][:4]
