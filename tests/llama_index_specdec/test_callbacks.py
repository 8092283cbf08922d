"""What the framework's callbacks and instrumentation hear of every call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest
from llama_index.core.callbacks import CallbackManager, CBEventType, LlamaDebugHandler, TokenCountingHandler
from llama_index.core.llms import ChatMessage
from llama_index.core.prompts import PromptTemplate

from llama_index.llms.specdec import SpecDec
from tests.fakes import SCRIPT, ScriptedEngine
from tests.llama_index_specdec.scripts import SeveralScripts
from tests.llama_index_specdec.test_structured import MARA, PROMPT, TEXT, Person
from tests.llama_index_specdec.watching import hearing

HELLO = [ChatMessage("Hello")]


async def _astream_chat(llm: SpecDec) -> None:
    async for _ in await llm.astream_chat(HELLO):
        pass


async def _astream_complete(llm: SpecDec) -> None:
    async for _ in await llm.astream_complete("Hello"):
        pass


async def _chat(llm: SpecDec) -> None:
    llm.chat(HELLO)


async def _stream_chat(llm: SpecDec) -> None:
    list(llm.stream_chat(HELLO))


async def _complete(llm: SpecDec) -> None:
    llm.complete("Hello")


async def _stream_complete(llm: SpecDec) -> None:
    list(llm.stream_complete("Hello"))


async def _achat(llm: SpecDec) -> None:
    await llm.achat(HELLO)


async def _acomplete(llm: SpecDec) -> None:
    await llm.acomplete("Hello")


Ask = Callable[[SpecDec], Awaitable[None]]
WHOLE: list[Ask] = [_chat, _complete, _achat, _acomplete]
STREAMED: list[Ask] = [_stream_chat, _stream_complete, _astream_chat, _astream_complete]


@pytest.mark.parametrize("ask", [*WHOLE, *STREAMED])
async def test_tokens_are_counted_from_the_engine(scripted: ScriptedEngine, ask: Ask) -> None:
    counter = TokenCountingHandler(tokenizer=lambda text: [])
    await ask(SpecDec(engine=scripted, callback_manager=CallbackManager([counter])))
    assert counter.completion_llm_token_count == len(SCRIPT)
    assert counter.prompt_llm_token_count == len("Hello")


@pytest.mark.parametrize("ask", [*WHOLE, *STREAMED])
async def test_every_start_has_its_end(scripted: ScriptedEngine, ask: Ask) -> None:
    handler = LlamaDebugHandler(print_trace_on_end=False)
    await ask(SpecDec(engine=scripted, callback_manager=CallbackManager([handler])))
    assert len(handler.get_event_pairs(CBEventType.LLM)) == 1
    assert len(handler.get_event_pairs(CBEventType.LLM)[0]) == 2


@pytest.mark.parametrize("ask", [*WHOLE, *STREAMED])
async def test_instrumentation_hears_it(llm: SpecDec, ask: Ask) -> None:
    with hearing() as names:
        await ask(llm)
    first, *between, last = names
    assert first.endswith("StartEvent")
    assert last.endswith("EndEvent")
    assert bool(between) == (ask in STREAMED)
    assert all(name.endswith("InProgressEvent") for name in between)


async def test_structured_prediction_is_heard() -> None:
    json = MARA.model_dump_json()
    llm = SpecDec(engine=SeveralScripts(json, json, [json[:9], json[9:]], [json[:9], json[9:]]))
    with hearing() as names:
        llm.structured_predict(Person, PROMPT, text=TEXT)
        await llm.astructured_predict(Person, PROMPT, text=TEXT)
        list(llm.stream_structured_predict(Person, PROMPT, text=TEXT))
        [_ async for _ in await llm.astream_structured_predict(Person, PROMPT, text=TEXT)]
    own = [name for name in names if "Structured" in name]
    whole = ["LLMStructuredPredictStartEvent", "LLMStructuredPredictEndEvent"]
    assert own[:4] == whole * 2
    assert [name for name, after in pairwise([*own[4:], ""]) if name != after] == [
        *(whole[0], "LLMStructuredPredictInProgressEvent", whole[1]) * 2
    ]


def test_errors_are_heard(scripted: ScriptedEngine) -> None:
    handler = LlamaDebugHandler(print_trace_on_end=False)
    llm = SpecDec(engine=scripted, callback_manager=CallbackManager([handler]))
    with pytest.raises(ValueError, match="temperature"):
        llm.chat(HELLO, temperature=-1)
    with pytest.raises(ValueError, match="temperature"):
        llm.stream_chat(HELLO, temperature=-1)
    assert len(handler.get_event_pairs(CBEventType.LLM)) == 2


def test_predictions_carry_the_system_prompt(scripted: ScriptedEngine) -> None:
    llm = SpecDec(engine=scripted, system_prompt="Be brief.")
    assert llm.predict(PromptTemplate("{x}"), x="Hello") == "".join(llm.stream(PromptTemplate("{x}"), x="Hello"))
    assert [m.role for r in scripted.requests for m in r.prompt] == ["system", "user"] * 2  # type: ignore[union-attr]
