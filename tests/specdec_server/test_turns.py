"""Who asks: clients that wait take turns by the name that a request gives."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fakes import ScriptedEngine
from tests.specdec_server.client import CHAT, AppClient

REQUESTS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": CHAT,
    "/v1/completions": {"prompt": ["Once", "Twice"], "n": 2},
    "/v1/responses": {"input": "Once"},
    "/v1/messages": CHAT,
}


@pytest.mark.parametrize("path", REQUESTS)
@pytest.mark.parametrize(
    ("said", "client"),
    [
        ({"user": "ada"}, "ada"),
        ({"safety_identifier": "ada"}, "ada"),
        ({"user": "ada", "safety_identifier": "x"}, "ada"),
        ({}, ""),
    ],
)
async def test_the_user_is_the_client(
    engine: ScriptedEngine, ask: AppClient, path: str, said: dict[str, str], client: str
) -> None:
    await ask.answer(path, REQUESTS[path] | said)
    assert {r.client for r in engine.requests} == {client}
