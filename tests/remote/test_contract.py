"""An engine over HTTP keeps the same contract, whatever kind of server answers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from specdec.engine import Engine
from specdec.errors import InvalidRequest
from specdec.remote import RemoteEngine
from specdec.types import DrafterStats
from tests.engine_contract import MIN_TOKENS, OPTIONS, PROMPT, EngineContract
from tests.remote.scripted import ScriptedServer


class TestPlainServer(EngineContract):
    """vLLM without speculation: `off` is all that it does, and a number is refused by name."""

    @pytest.fixture
    def engine(self) -> Iterator[Engine]:
        with ScriptedServer() as server, RemoteEngine(server.url) as engine:
            yield engine

    def test_speculation_does_not_change_the_answer(self, engine: Engine) -> None:
        plain = engine.generate(PROMPT, **OPTIONS, speculative="off")
        assert plain.stats.drafted == 0
        assert "does not speculate" in str(plain.stats.off_reason)
        assert engine.generate(PROMPT, **OPTIONS).token_ids == plain.token_ids
        with pytest.raises(InvalidRequest, match=r"speculative is 4; expected 'auto': vLLM at http"):
            engine.stream(PROMPT, speculative=4)


class TestSpeculatingServer(EngineContract):
    """vLLM with speculation, which cannot be switched per request; it tells totals, no rounds."""

    @pytest.fixture
    def engine(self) -> Iterator[Engine]:
        with ScriptedServer(speculates=True) as server, RemoteEngine(server.url) as engine:
            yield engine

    def test_speculation_does_not_change_the_answer(self, engine: Engine) -> None:
        for speculative in ("off", 0, 4):
            with pytest.raises(InvalidRequest, match=r"speculative is .*; expected 'auto': vLLM at http"):
                engine.stream(PROMPT, speculative=speculative)

    def test_counts_agree(self, engine: Engine) -> None:
        stats = engine.generate(PROMPT, **OPTIONS).stats
        assert (stats.rounds, stats.drafted, stats.accepted, stats.off_reason) == (4, 8, 8, None)
        assert stats.acceptance_length == 3


class TestOurServer(EngineContract):
    """Our own endpoint: everything can be asked of it, speculation by request included. It tells totals, no rounds."""

    @pytest.fixture
    def engine(self) -> Iterator[Engine]:
        with ScriptedServer("ours", speculates=True) as server, RemoteEngine(server.url) as engine:
            yield engine

    def test_counts_agree(self, engine: Engine) -> None:
        stats = engine.generate(PROMPT, **OPTIONS).stats
        assert (stats.rounds, stats.drafted, stats.accepted) == (4, 8, 8)
        assert stats.drafters == (DrafterStats("model", (4, 4), (4, 4), (4, 4)),), "as the server counted"


class TestServerWithoutIds(EngineContract):
    """llama.cpp sends no token ids: tokens are counted by its usage, and there are none to show."""

    @pytest.fixture
    def engine(self) -> Iterator[Engine]:
        with ScriptedServer("llamacpp") as server, RemoteEngine(server.url) as engine:
            yield engine

    def test_text_is_the_join_of_its_tokens(self, engine: Engine) -> None:
        completion = engine.generate(PROMPT, **OPTIONS)
        assert completion.tokens == ()
        assert completion.usage.completion_tokens == OPTIONS["max_tokens"] >= MIN_TOKENS
        assert completion.tokens_per_second > 0

    def test_speculation_does_not_change_the_answer(self, engine: Engine) -> None:
        assert "unknown: the server" in str(engine.generate(PROMPT, **OPTIONS).stats.unknown)
        with pytest.raises(InvalidRequest, match="speculative is 'off'"):
            engine.stream(PROMPT, speculative="off")
