"""/health, /ready, /metrics, /v1/models and the schema."""

from __future__ import annotations

import re
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from specdec.types import Request
from specdec_server import Settings
from tests.fakes import SCRIPT, SCRIPTED_INFO, ScriptedEngine
from tests.specdec_server.client import CHAT, JSON, AppClient, error_of
from tests.specdec_server.live import live


async def test_models(ask: AppClient) -> None:
    listed = (await ask.get("/v1/models")).json()
    (card,) = listed["data"]
    assert listed["object"] == "list"
    assert (card["id"], card["object"], card["owned_by"], card["max_model_len"]) == (
        "scripted",
        "model",
        "specdec",
        256,
    )
    assert (await ask.get("/v1/models/scripted")).json() == card
    assert error_of(await ask.get("/v1/models/other"))["code"] == "model_not_found"


async def test_a_context_that_is_only_assumed_is_not_told() -> None:
    ask = AppClient(ScriptedEngine(info=replace(SCRIPTED_INFO, context_known=False)))
    (card,) = (await ask.get("/v1/models")).json()["data"]
    assert card.get("max_model_len") is None


async def test_a_name_of_ones_own(engine: ScriptedEngine) -> None:
    ask = AppClient(engine, Settings(model="mine/own"))
    assert (await ask.chat(model="mine/own"))["model"] == "mine/own"
    assert (await ask.get("/v1/models/mine/own")).status_code == 200


async def test_a_folder_goes_by_its_last_name(tmp_path: Path) -> None:
    (tmp_path / "my-model").mkdir()
    for target, name in ((str(tmp_path / "my-model"), "my-model"), ("org/model", "org/model")):
        ask = AppClient(ScriptedEngine(info=replace(SCRIPTED_INFO, target=target)))
        assert (await ask.get("/v1/models")).json()["data"][0]["id"] == name


async def test_unknown_paths_are_errors_of_the_same_form(ask: AppClient) -> None:
    response = await ask.get("/v1/nothing")
    assert response.status_code == 404 and error_of(response)["type"] == "invalid_request_error"


def test_nothing_waits_to_be_sent_together_on_a_kept_connection() -> None:
    """Nagle's algorithm and a client's delayed acknowledgement would wait for each other, 40 ms at a time."""
    with live(ScriptedEngine()) as server:
        for _ in range(2):
            assert server.client.get("/health").status_code == 200
        (connection,) = server.server.server_state.connections
        accepted = connection.transport.get_extra_info("socket")
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_ready_says_whether_the_engine_takes_requests(ask: AppClient, engine: ScriptedEngine) -> None:
    assert (await ask.get("/ready")).json() == {"status": "ready"}
    engine.close()
    response = await ask.get("/ready")
    assert (response.status_code, response.headers["retry-after"]) == (503, "5")
    assert error_of(response)["code"] == "engine_unavailable"


async def test_every_answer_has_its_request_id(ask: AppClient) -> None:
    response = await ask.post("/v1/chat/completions", CHAT)
    assert response.json()["id"] == f"chatcmpl-{response.headers['x-request-id']}"
    assert (await ask.get("/nothing")).headers["x-request-id"]


async def figures(ask: AppClient) -> dict[str, float]:
    text = (await ask.get("/metrics")).text
    return {name: float(value) for name, value in re.findall(r"^(specdec_\S+) (\S+)$", text, re.MULTILINE)}


async def test_metrics(ask: AppClient) -> None:
    await ask.chat()
    await ask.chat_chunks(n=2)
    await ask.refused("/v1/chat/completions", CHAT | {"n": 0})
    found = await figures(ask)
    expected = {
        'specdec_requests_total{path="/v1/chat/completions",status="200"}': 2,
        'specdec_requests_total{path="/v1/chat/completions",status="400"}': 1,
        'specdec_answers_total{outcome="stop"}': 3,
        "specdec_completion_tokens_total": 3 * len(SCRIPT),
        "specdec_rounds_total": 3 * 5,
        'specdec_drafted_tokens_total{drafter="model",position="0"}': 3 * 4,
        'specdec_accepted_tokens_total{drafter="model",position="1"}': 3 * 4,
        'specdec_tested_tokens_total{drafter="model",position="1"}': 3 * 4,
        "specdec_ttft_seconds_count": 3,
        "specdec_tpot_seconds_count": 3,
        "specdec_queue_seconds_count": 3,
        "specdec_slots": 2,
        "specdec_active": 0,
        "specdec_queued": 0,
    }
    assert {name: found.get(name) for name in expected} == expected


async def test_paths_of_clients_are_no_labels(ask: AppClient) -> None:
    for i in range(20):
        await ask.get(f"/v1/models/{i}")
        await ask.get(f"/x{i}")
    labels = [name for name in await figures(ask) if name.startswith("specdec_requests_total")]
    assert len(labels) == 2


async def test_schema_describes_the_streams(ask: AppClient) -> None:
    schema = (await ask.get("/openapi.json")).json()
    for path, event in (
        ("/v1/chat/completions", "ChatCompletionChunk"),
        ("/v1/completions", "TextCompletion"),
        ("/v1/responses", "ResponseEvent"),
    ):
        content = schema["paths"][path]["post"]["responses"]["200"]["content"]
        data = content["text/event-stream"]["itemSchema"]["properties"]["data"]
        assert data["contentSchema"] == {"$ref": f"#/components/schemas/{event}"}
        assert content["application/json"]["schema"]["$ref"]
    assert not unresolved(schema, schema)
    assert schema["components"]["schemas"]["ChatCompletionRequest"]["properties"]["model"]["enum"] == ["scripted", None]


def unresolved(part: object, schema: JSON) -> list[str]:
    """References that lead nowhere."""
    if isinstance(part, list):
        return [r for item in part for r in unresolved(item, schema)]
    if not isinstance(part, dict):
        return []
    name = str(part.get("$ref", "")).rpartition("/")[2]
    missing = [name] if name and name not in schema["components"]["schemas"] else []
    return missing + [r for item in part.values() for r in unresolved(item, schema)]


async def test_a_bug_is_named_by_nothing(
    ask: AppClient, engine: ScriptedEngine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("xyzzy, said the user")

    monkeypatch.setattr(engine, "astream", broken)
    response = await ask.post("/v1/chat/completions", CHAT)
    assert response.status_code == 500 and error_of(response)["code"] == "internal_error"
    assert "xyzzy" not in response.text and "RuntimeError" not in response.text


async def test_an_engine_that_ends_in_the_middle(engine: ScriptedEngine) -> None:
    ask = AppClient(engine)
    engine.hold = 2
    engine.go_on()
    stream = engine.astream

    def ending(request: Request) -> object:
        events = stream(request)
        engine.closed = True
        return events

    engine.astream = ending  # type: ignore[assignment,method-assign]
    *_, error, done = (await ask.post("/v1/chat/completions", CHAT | {"stream": True})).text.strip().split("\n\n")
    assert '"code":"engine_unavailable"' in error and done == "data: [DONE]"
    assert (await ask.post("/v1/chat/completions", CHAT)).status_code == 503
