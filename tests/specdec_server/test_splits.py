"""A stream comes to the whole answer: of every family, at every endpoint, however many tokens come at once."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from specdec.text.tools.parser import Parser
from specdec.types import Request, Token
from tests.fakes import ScriptedEngine
from tests.specdec_server.client import CHAT, JSON, AppClient, deltas, events
from tests.specdec_server.test_messages import built
from tests.text.tools.written import BY_DESCRIPTION, WRITTEN, cut, described_parser, parser, whole

FAMILIES = (*WRITTEN, "described")
"""The last is read by a response template."""
FUNCTIONS = [{"name": name, "parameters": {"type": "object"}} for name in ("add", "say", "sub")]
Built = tuple[str, str, list[tuple[str, Any]]]
"""What a client has at the end: the thought, the text, and each call by its name and arguments."""


class Uneven(ScriptedEngine):
    """Answers as one family writes them, in tokens of any length; rounds bring 1 to `width` of these."""

    def __init__(self, family: str) -> None:
        self._family, self._rng = family, random.Random(family)
        text = whole(family) if family in WRITTEN else BY_DESCRIPTION
        super().__init__([part for _, part in cut(text, self._rng, {})], width=1)

    def _parser(self, request: Request) -> Parser:
        return parser(self._family, {}) if self._family in WRITTEN else described_parser()

    def _groups(self, tokens: Sequence[Token], width: int) -> list[Sequence[Token]]:  # type: ignore[override]
        groups, at = [], 0
        while at < len(tokens):
            size = self._rng.randint(1, width)
            groups.append(tokens[at : at + size])
            at += size
        return groups


def _of_chat(message: JSON) -> Built:
    calls = [call["function"] for call in message.get("tool_calls", ())]
    said = message.get("reasoning_content") or "", message.get("content") or ""
    return *said, [(call["name"], json.loads(call["arguments"])) for call in calls]


def _of_chunks(text: str) -> Built:
    """As clients read that look at the first entry of `tool_calls` alone."""
    message: JSON = {"content": "", "reasoning_content": ""}
    calls: dict[int, JSON] = {}
    *chunks, done = [data for _, data in events(text)]
    assert done == "[DONE]"
    for delta in deltas([json.loads(chunk) for chunk in chunks]):
        message["content"] += delta.get("content") or ""
        message["reasoning_content"] += delta.get("reasoning_content") or ""
        for part in delta.get("tool_calls", ())[:1]:
            assert ("id" in part) == (part["index"] not in calls), "the first of each call has its id"
            call = calls.setdefault(part["index"], {"name": part["function"].get("name"), "arguments": ""})
            call["arguments"] += part["function"]["arguments"]
    return _of_chat(message | {"tool_calls": [{"function": call} for _, call in sorted(calls.items())]})


def _of_items(items: Sequence[JSON]) -> Built:
    texts = {"reasoning": "", "message": ""}
    calls = []
    for item in items:
        if item["type"] == "function_call":
            calls.append((item["name"], json.loads(item["arguments"])))
        else:
            texts[item["type"]] += "".join(part["text"] for part in item["content"])
    return texts["reasoning"], texts["message"], calls


def _of_item_events(text: str) -> Built:
    """From the deltas alone; what the last event repeats must be the same."""
    items: list[JSON] = []
    for _, data in events(text):
        event = json.loads(data)
        match event["type"].removeprefix("response."):
            case "output_item.added":
                assert event["output_index"] == len(items)
                items.append(event["item"])
            case "output_text.delta" | "reasoning_text.delta":
                items[-1]["content"] = [{"text": items[-1].get("content", [{"text": ""}])[0]["text"] + event["delta"]}]
            case "content_part.added":
                items[-1]["content"] = [event["part"]]
            case "function_call_arguments.delta":
                items[-1]["arguments"] += event["delta"]
    last = json.loads(events(text)[-1][1])
    assert last["type"] == "response.completed"
    assert _of_items(last["response"]["output"]) == _of_items(items)
    return _of_items(items)


def _of_blocks(message: JSON) -> Built:
    texts = {"thinking": "", "text": ""}
    calls = []
    for block in message["content"]:
        if block["type"] == "tool_use":
            calls.append((block["name"], block["input"]))
        else:
            texts[block["type"]] += block[block["type"]]
    return texts["thinking"], texts["text"], calls


Endpoint = tuple[JSON, Callable[[JSON], Built], Callable[[str], Built]]
ENDPOINTS: dict[str, Endpoint] = {
    "/v1/chat/completions": (
        CHAT | {"tools": [{"type": "function", "function": function} for function in FUNCTIONS]},
        lambda body: _of_chat(body["choices"][0]["message"]),
        _of_chunks,
    ),
    "/v1/responses": (
        {"input": "Hi", "tools": [{"type": "function", **function} for function in FUNCTIONS]},
        lambda body: _of_items(body["output"]),
        _of_item_events,
    ),
    "/v1/messages": (
        CHAT | {"max_tokens": 999, "tools": [{"name": f["name"], "input_schema": f["parameters"]} for f in FUNCTIONS]},
        _of_blocks,
        lambda text: _of_blocks(built([json.loads(data) for _, data in events(text)])),
    ),
}


@pytest.mark.parametrize("path", ENDPOINTS)
@pytest.mark.parametrize(("start", "family"), list(enumerate(FAMILIES)), ids=FAMILIES)
@pytest.mark.parametrize("step", [4, pytest.param(1, marks=pytest.mark.slow)], ids=["some", "all"])
async def test_a_stream_comes_to_the_whole_answer(start: int, family: str, step: int, path: str) -> None:
    """At draft lengths from 1 to 16, and with all of it in one round: thinking ends, and calls are made."""
    if family not in WRITTEN:
        pytest.importorskip("transformers.utils.chat_parsing")  # of 5.13 and newer
    body, of_whole, of_stream = ENDPOINTS[path]
    engine = Uneven(family)
    ask = AppClient(engine)
    expected = of_whole(await ask.answer(path, body))
    assert expected[0] and expected[2], "it thinks and calls"
    for engine.width in (*range(2 + start % step, 18, step), 1000):
        streamed = await ask.post(path, body | {"stream": True})
        assert of_stream(streamed.text) == expected, engine.width
