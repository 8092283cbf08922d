"""Schemas that nobody should have to compile: refused by name and soon, while the loop and the engine go on."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel, Field

from llama_index.llms.specdec import SpecDec
from tests.llama_index_specdec.test_structured import PROMPT

HELLO = [ChatMessage("Hello! Who are you?")]


class Slow(BaseModel):
    """A schema that would take all day to compile."""

    number: int = Field(multiple_of=99999999)


def test_a_tool_that_cannot_be_compiled_is_left_open(bundled: SpecDec, caplog: pytest.LogCaptureFixture) -> None:
    bundled.chat_with_tools([FunctionTool.from_defaults(lambda: "", name="wait")], "Hello", max_tokens=1)
    tool = FunctionTool.from_defaults(lambda number: number, name="count", fn_schema=Slow)
    start = time.perf_counter()
    bundled.chat_with_tools([tool], "Hello", max_tokens=1)
    assert time.perf_counter() - start < 20  # four seconds, were the machine quiet
    assert "the tool 'count' is not enforced" in caplog.text
    assert bundled.chat(HELLO).message.content


async def test_meanwhile_the_loop_goes_on(bundled: SpecDec) -> None:
    refused = asyncio.create_task(bundled.astructured_predict(Slow, PROMPT, text="Hello"))
    ticks = 0
    while not refused.done():
        await asyncio.sleep(0.01)
        ticks += 1
    with pytest.raises(ValueError, match="too complex"):
        await refused
    assert ticks > 20


@pytest.mark.parametrize("keyword", [{"not": {"type": "string"}}, {"$ref": "#/nowhere"}], ids=["not", "$ref"])
def test_keywords_that_cannot_be_enforced_are_named(bundled: SpecDec, keyword: dict[str, Any]) -> None:
    schema = {"type": "object", "properties": {"x": keyword}}
    tool = {"type": "function", "function": {"name": "odd", "strict": True, "parameters": schema}}
    with pytest.raises(ValueError, match=r"tools\[0\]\.function\.parameters is .*(not|nowhere)"):
        bundled.chat(HELLO, tools=[tool])
    assert bundled.chat(HELLO).message.content
