"""A template that ends inside a thought, and a form for the answer: the thought first, then the form, at every path."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from specdec.decoding.engine import LocalEngine
from tests.decoding.toy import thinking_engine
from tests.specdec_server.client import JSON, AppClient
from tests.specdec_server.test_splits import ENDPOINTS

SCHEMA = {
    "type": "object",
    "properties": {"a": {"enum": [1, 2]}},
    "required": ["a"],
    "additionalProperties": False,
}
NAMED = {"name": "x", "schema": SCHEMA}
HI = {"messages": [{"role": "user", "content": "hi"}]}
ASKED: dict[str, JSON] = {
    "/v1/chat/completions": HI | {"response_format": {"type": "json_schema", "json_schema": NAMED}},
    "/v1/responses": {"input": "hi", "text": {"format": {"type": "json_schema", **NAMED}}},
    "/v1/messages": HI | {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
}
OFF: list[JSON] = [
    {"reasoning_effort": "none"},
    {"chat_template_kwargs": {"thinking": False}},
    {"thinking": {"type": "disabled"}},
]


@pytest.fixture(scope="module")
def engine() -> Iterator[LocalEngine]:
    with thinking_engine() as engine:
        yield engine


@pytest.mark.parametrize("speculative", ["off", 16])
@pytest.mark.parametrize("path", ASKED)
async def test_a_form_comes_behind_the_thought(engine: LocalEngine, path: str, speculative: object) -> None:
    _, of_whole, of_stream = ENDPOINTS[path]
    ask, asked = AppClient(engine), ASKED[path] | {"seed": 1, "speculative": speculative}
    body = asked | {"thinking": {"type": "enabled"}}
    thought, text, calls = of_whole(await ask.answer(path, body))
    assert thought.strip() and json.loads(text)["a"] in (1, 2) and not calls
    assert of_stream((await ask.post(path, body | {"stream": True})).text) == (thought, text, calls)


@pytest.mark.parametrize("fields", OFF)
@pytest.mark.parametrize("path", ASKED)
async def test_none_where_it_is_off(engine: LocalEngine, path: str, fields: JSON) -> None:
    thought, text, _ = ENDPOINTS[path][1](await AppClient(engine).answer(path, ASKED[path] | fields))
    assert (thought, json.loads(text).keys()) == ("", {"a"})
