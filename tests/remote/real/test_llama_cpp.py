"""A real llama.cpp server, by llama-cpp-python, with the bundled target as GGUF."""

from __future__ import annotations

from pathlib import Path

import pytest

import specdec
from specdec.errors import InvalidRequest
from specdec.remote import RemoteEngine
from tests.engine_contract import eventually
from tests.remote.real.servers import llama_cpp

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
PROMPT = "One day, a little fox"


def test_the_bundled_target(tmp_path: Path) -> None:
    with (
        llama_cpp(tmp_path) as url,
        RemoteEngine(url) as engine,
        specdec.load(draft="none", dtype="float32") as local,
    ):
        assert engine.info.backend.startswith("llama-cpp-python at")
        _says_the_same(engine, local)
        _keeps_its_seeds(engine)
        _refuses_by_name(engine)
        events = engine.stream(PROMPT, max_tokens=400)
        next(events)
        events.close()
        eventually(lambda: engine.stats().active == 0)
        assert engine.generate(PROMPT, max_tokens=5).usage.completion_tokens == 5


def _says_the_same(engine: RemoteEngine, local: specdec.Engine) -> None:
    """It neither sends ids nor counts: its tokenizer is asked."""
    answer, own = (e.generate(PROMPT, temperature=0.0, max_tokens=40) for e in (engine, local))
    assert answer.text == own.text
    assert answer.tokens == ()
    assert answer.usage.completion_tokens == len(own.tokens) == 40
    assert answer.tokens_per_second > 0


def _keeps_its_seeds(engine: RemoteEngine) -> None:
    texts = {engine.generate(PROMPT, temperature=0.8, seed=5, max_tokens=20).text for _ in range(3)}
    assert len(texts) == 1


def _refuses_by_name(engine: RemoteEngine) -> None:
    for name, value in {
        "ignore_eos": True,
        "stop_token_ids": (3,),
        "speculative": "off",
        "seed": 2**40,
    }.items():
        with pytest.raises(InvalidRequest, match=rf"^{name} is .*llama-cpp-python at http"):
            engine.stream(PROMPT, **{name: value})  # type: ignore[arg-type]
