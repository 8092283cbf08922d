"""Real vLLM on a CPU, started as `specdec cluster launch` starts it, with the bundled pair."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

import specdec
from specdec.cli import app
from specdec.engine import Engine
from specdec.errors import InvalidRequest
from specdec.remote import RemoteEngine
from specdec.types import Completion, Grammar
from specdec.verify import verify_server
from specdec.verify.cases import Abilities
from tests.engine_contract import eventually
from tests.remote.real.servers import vllm

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
CHAT = [{"role": "user", "content": "Tell me a story about a fox who copies: the fox, the fox, the fox."}]
GREEDY: dict[str, Any] = {"temperature": 0.0, "max_tokens": 60}
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@pytest.fixture(scope="module")
def local() -> Iterator[Engine]:
    with specdec.load(draft="none", dtype="float32") as engine:
        yield engine


def _same(engine: Engine, local: Engine) -> Completion:
    """Greedy, the server says token for token what the local engine says."""
    answer, own = engine.generate(CHAT, **GREEDY), local.generate(CHAT, **GREEDY)
    assert answer.token_ids == own.token_ids
    assert answer.text == own.text
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (
        own.usage.prompt_tokens,
        len(own.tokens),
    )
    assert engine.tokenize(CHAT) == local.tokenize(CHAT)
    return answer


def test_plain(local: Engine) -> None:
    with vllm() as url, specdec.load(url) as engine:
        assert isinstance(engine, RemoteEngine)
        answer = _same(engine, local)
        assert answer.stats.drafted == 0
        assert "does not speculate" in str(answer.stats.off_reason)
        assert engine.generate(CHAT, min_p=0.1, logit_bias={5: 1.0}, max_tokens=4).usage.completion_tokens == 4
        checks = list(verify_server(engine, None, Abilities(switch=False, prediction=False), 100))
        assert {c.verdict for c in checks} <= {"pass", "not shown"}, checks


def test_lookup(local: Engine) -> None:
    with vllm(draft="lookup") as url, specdec.load(url, "lookup") as engine:
        assert _same(engine, local).stats.drafted > 0


def test_bench_of_two_servers() -> None:
    with vllm() as plain, vllm(draft="lookup") as url:
        asked = ["--url", url, "--plain-url", plain, "--limit", "2", "--max-tokens", "24", "--json"]
        found = CliRunner().invoke(app, ["bench", *asked])
        assert found.exit_code == 0, found.output
        rows = json.loads(found.stdout)["rows"]
        assert all(row["identical"] == row["answers"] for row in rows if row["temperature"] == 0.0)
        print([(row["temperature"], row["plain"], row["speculative"]) for row in rows])  # noqa: T201


def test_verify_tells_what_breaks_a_server() -> None:
    """This vLLM keeps greedy text, and dies when it drafts under top_k."""
    with vllm() as plain, vllm(draft="lookup") as url:
        found = CliRunner().invoke(app, ["verify", "--url", url, "--plain-url", plain, "--trials", "100", "--json"])
        assert found.exit_code == 1, found.output
        checks = {check["name"]: check["verdict"] for check in json.loads(found.stdout)}
        assert {v for name, v in checks.items() if name.startswith("greedy text")} == {"pass"}
        assert "fail" in checks.values()


def test_a_target_as_its_own_draft_is_always_accepted(local: Engine) -> None:
    with vllm(draft=str(specdec.bundled.path("target"))) as url, specdec.load(url) as engine:
        stats = _same(engine, local).stats
        assert stats.drafted > 0
        assert stats.acceptance_rate == 1.0


def test_the_bundled_pair(local: Engine) -> None:
    with vllm(draft="bundled") as url, RemoteEngine(url) as engine:
        before = engine.speculated()
        answer = _same(engine, local)
        assert answer.stats.accepted > 0
        after = engine.speculated()
        assert before is not None
        assert after is not None
        counted = after.since(before)
        assert (counted.rounds, counted.drafted, counted.accepted) == (
            answer.stats.rounds,
            answer.stats.drafted,
            answer.stats.accepted,
        )
        _refuses_by_name(engine)
        _calls_tools(engine)
        _follows_grammars(engine)
        _is_left(engine)


def _refuses_by_name(engine: RemoteEngine) -> None:
    for name, value in {
        "min_p": 0.1,
        "logit_bias": {5: 1.0},
        "speculative": "off",
        "prediction": "x",
    }.items():
        with pytest.raises(InvalidRequest, match=f"^{name} is"):
            engine.stream(CHAT, **{name: value})  # type: ignore[arg-type]
    with pytest.raises(
        InvalidRequest, match=r"max_tokens is 5000; expected what http.* takes; it says: max_tokens=5000"
    ):
        engine.stream(CHAT, max_tokens=5000)


def _calls_tools(engine: RemoteEngine) -> None:
    asked = [{"role": "user", "content": "What is the weather in Oslo?"}]
    answer = engine.generate(asked, tools=[TOOL], tool_choice="required", **GREEDY)
    (call,) = answer.message.tool_calls
    assert call.name == "weather"
    assert json.loads(call.arguments) == {"city": "Oslo"}
    assert answer.usage.completion_tokens == len(answer.tokens)
    told = [*asked, answer.message, {"role": "tool", "content": "Rain.", "tool_call_id": call.id}]
    assert engine.generate(told, tools=[TOOL], **GREEDY).text


def _follows_grammars(engine: RemoteEngine) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    assert json.loads(engine.generate(CHAT, grammar=Grammar.json_schema(schema), **GREEDY).text).keys() == {"n"}
    assert engine.generate(CHAT, grammar=Grammar.choice(["yes", "no"]), **GREEDY).text in ("yes", "no")


def _is_left(engine: RemoteEngine) -> None:
    """The server stops soon after its reader has left."""
    events = engine.stream(CHAT, max_tokens=400, ignore_eos=True)
    next(events)
    events.close()
    eventually(lambda: engine.stats().active == 0)
    before = engine.generate(CHAT, **GREEDY)  # and has room for the next
    assert before.usage.completion_tokens


@pytest.mark.parametrize("nodes", [1, 2], ids=["-tp 2", "-tp 2 over two nodes"])
def test_tensor_parallel(local: Engine, nodes: int) -> None:
    with vllm(tensor=2, nodes=nodes) as url, specdec.load(url) as engine:
        _same(engine, local)
