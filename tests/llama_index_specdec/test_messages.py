"""Messages to the engine, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from llama_index.core.base.llms.types import (
    AudioBlock,
    CacheControl,
    CachePoint,
    CitableBlock,
    ContentBlock,
    DocumentBlock,
    ImageBlock,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
    VideoBlock,
)
from llama_index.core.llms import ChatMessage, MessageRole

from llama_index.llms.specdec import SpecDec
from specdec.types import Message, ToolCall
from tests.fakes import ScriptedEngine
from tests.llama_index_specdec.scripts import chat_of

CALL = ToolCallBlock(tool_call_id="call_1", tool_name="add", tool_kwargs={"a": 1, "b": 2})


def heard(llm: SpecDec, *messages: ChatMessage) -> list[Message]:
    """What the engine is given."""
    llm.chat(list(messages))
    return chat_of(llm)


@pytest.mark.parametrize(
    ("role", "expected"),
    [
        ("system", "system"),
        ("developer", "system"),
        ("user", "user"),
        ("model", "assistant"),
        ("chatbot", "assistant"),
    ],
)
def test_roles(llm: SpecDec, role: str, expected: str) -> None:
    assert heard(llm, ChatMessage("x", role=MessageRole(role)))[0].role == expected


def test_texts_are_joined_as_the_framework_does(llm: SpecDec) -> None:
    point = CachePoint(cache_control=CacheControl(type="ephemeral"))
    message = ChatMessage(blocks=[TextBlock(text="a"), point, TextBlock(text="b")])
    assert heard(llm, message)[0].content == message.content == "a\nb"


def test_a_tool_s_turn(llm: SpecDec) -> None:
    thought = ThinkingBlock(content="Sums are easy.")
    _, asked, told = heard(
        llm,
        ChatMessage("1 + 2?"),
        ChatMessage(role="assistant", blocks=[thought, thought, CALL]),
        ChatMessage("3", role="tool", additional_kwargs={"tool_call_id": "call_1"}),
    )
    calls = (ToolCall("call_1", "add", '{"a": 1, "b": 2}'),)
    assert asked == Message("assistant", None, tool_calls=calls, reasoning="Sums are easy.\nSums are easy.")
    assert told == Message("tool", "3", tool_call_id="call_1")


def test_calls_of_older_histories(llm: SpecDec) -> None:
    old = {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
    message = ChatMessage("", role="assistant", additional_kwargs={"tool_calls": [old]})
    assert heard(llm, ChatMessage("?"), message)[1].tool_calls == (ToolCall("call_1", "add", '{"a": 1}'),)


def test_an_answer_can_be_sent_back(llm: SpecDec) -> None:
    answer = llm.chat([ChatMessage("Hello")]).message
    assert heard(llm, ChatMessage("Hello"), answer, ChatMessage("And?"))[1].content == answer.content


@pytest.mark.parametrize(
    "block",
    [
        ImageBlock(image=b"x", image_mimetype="image/png"),
        AudioBlock(audio=b"x", format="wav"),
        VideoBlock(video=b"x", video_mimetype="video/mp4"),
        DocumentBlock(data=b"x", document_mimetype="application/pdf"),
        CitableBlock(title="t", source="s", content=[TextBlock(text="c")]),
    ],
    ids=lambda block: block.block_type,
)
async def test_what_a_text_model_cannot_read_is_refused(llm: SpecDec, block: ContentBlock) -> None:
    chat = [ChatMessage(blocks=[TextBlock(text="What is this?"), block])]
    for ask in (llm.chat, llm.stream_chat):
        with pytest.raises(ValueError, match=f"messages.blocks is '{block.block_type}'"):
            ask(chat)
    for aask in (llm.achat, llm.astream_chat):
        with pytest.raises(ValueError, match=f"messages.blocks is '{block.block_type}'"):
            await aask(chat)
    assert llm.chat([ChatMessage("Still there?")]).message.content


@pytest.mark.parametrize("messages", ["Hello", [{"role": "user", "content": "Hello"}], [], None])
def test_no_chat_is_refused(llm: SpecDec, messages: Any) -> None:
    with pytest.raises(ValueError, match=r"messages|prompt"):
        llm.chat(messages)


def test_a_tool_s_turn_without_a_call_is_refused(llm: SpecDec) -> None:
    with pytest.raises(ValueError, match="tool message"):
        llm.chat([ChatMessage("1 + 2?"), ChatMessage("3", role="tool", additional_kwargs={"tool_call_id": "x"})])


def test_text_targets_get_the_framework_s_prompt() -> None:
    from dataclasses import replace

    from tests.fakes import SCRIPTED_INFO

    with ScriptedEngine(info=replace(SCRIPTED_INFO, chat_template=False)) as engine:
        llm = SpecDec(engine=engine, completion_to_prompt=lambda text: f"Q: {text} A:")
        assert not llm.metadata.is_chat_model
        llm.chat([ChatMessage("Hello")])
        llm.complete("Hello")
        assert [r.prompt for r in engine.requests] == ["user: Hello\nassistant: ", "Q: Hello A:"]
