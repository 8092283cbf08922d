"""How many tokens a request's prompt is, in each form, without an answer."""

from __future__ import annotations

import pytest

from tests.fakes import ScriptedEngine
from tests.specdec_server.client import CHAT, JSON, AppClient

FORMS: list[tuple[str, JSON]] = [
    ("/v1/messages/count_tokens", CHAT | {"system": "Be brief."}),
    (
        "/v1/chat/completions/input_tokens",
        {"messages": [{"role": "system", "content": "Be brief."}, *CHAT["messages"]]},
    ),
    ("/v1/responses/input_tokens", {"input": CHAT["messages"], "instructions": "Be brief."}),
]


@pytest.mark.parametrize(("path", "body"), FORMS)
async def test_tokens_are_counted_as_the_engine_does(
    ask: AppClient, engine: ScriptedEngine, path: str, body: JSON
) -> None:
    expected = len(engine.tokenize([{"role": "system", "content": "Be brief."}, *CHAT["messages"]]))
    assert (await ask.answer(path, body))["input_tokens"] == expected
    assert not engine.requests


@pytest.mark.parametrize(("path", "body"), FORMS)
async def test_tools_and_fields_are_read_as_for_an_answer(ask: AppClient, path: str, body: JSON) -> None:
    tool: JSON = {"name": "add", "input_schema": {"type": "object"}}
    if "messages/" not in path:
        function = {"name": "add", "parameters": {"type": "object"}}
        tool = {"type": "function"} | (function if "responses" in path else {"function": function})
    response = await ask.post(path, body | {"tools": [tool, {"type": "web_search_20250305"}]})
    assert response.status_code == 200, response.text
    assert response.headers["x-specdec-ignored"] == "tools.web_search_20250305"
    assert (await ask.post(path, body | {"model": "claude"})).status_code == 404
    assert (await ask.post(path, body | {"tools": [tool, tool]})).status_code == 400


async def test_texts_are_counted_together_and_ids_told(ask: AppClient, engine: ScriptedEngine) -> None:
    body: JSON = {"prompt": ["Once", "upon a"], "n": 2, "return_token_ids": True}
    told = await ask.answer("/v1/completions/input_tokens", body)
    ids = [*engine.tokenize("Once"), *engine.tokenize("upon a")]
    assert told == {"object": "response.input_tokens", "input_tokens": len(ids), "token_ids": ids}
    told = await ask.answer("/v1/completions/input_tokens", body | {"return_token_ids": False})
    assert "token_ids" not in told
