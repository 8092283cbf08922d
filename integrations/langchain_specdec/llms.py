"""SpecDecLLM: LangChain's completion model over an engine. It continues raw text; chats are for ChatSpecDec."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, aclosing, closing
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseLLM
from langchain_core.outputs import Generation, GenerationChunk, LLMResult

from langchain_specdec.answers import figures, usage_metadata
from langchain_specdec.base import STRICT, BaseSpecDec
from langchain_specdec.errors import translated
from specdec.types import Completion, Ending, EngineInfo, GenerationEvent


class SpecDecLLM(BaseSpecDec, BaseLLM):
    """A local target model that continues text, and the same sooner.

    SpecDecLLM(max_tokens=40).invoke("Once upon a time, there was")
    """

    model_config = STRICT

    @property
    def _llm_type(self) -> str:
        return "specdec"

    def _generate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        requests = [self._request(prompt, stop, kwargs) for prompt in prompts]
        engine = self._engine(kwargs)
        with translated(), ExitStack() as left:  # all are under way before the first is waited for
            streams = [left.enter_context(closing(engine.stream(request))) for request in requests]
            return _result([Completion.of(stream) for stream in streams], engine.info)

    async def _agenerate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        requests = [self._request(prompt, stop, kwargs) for prompt in prompts]
        engine = await self._aengine(kwargs)
        with translated():
            return _result(await asyncio.gather(*map(engine.agenerate, requests)), engine.info)

    def _stream(
        self,
        prompt: str,
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[GenerationChunk]:
        request, engine = self._request(prompt, stop, kwargs), self._engine(kwargs)
        with translated(), closing(engine.stream(request)) as events:
            for event in events:
                chunk = _chunk(event, engine.info)
                if run_manager:
                    run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                yield chunk

    async def _astream(
        self,
        prompt: str,
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[GenerationChunk]:
        request, engine = self._request(prompt, stop, kwargs), await self._aengine(kwargs)
        with translated():
            async with aclosing(engine.astream(request)) as events:
                async for event in events:
                    chunk = _chunk(event, engine.info)
                    if run_manager:
                        await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                    yield chunk


def _chunk(event: GenerationEvent, info: EngineInfo) -> GenerationChunk:
    return GenerationChunk(text=event.text, generation_info=_info(event.end, info) if event.end else None)


def _result(completions: list[Completion], info: EngineInfo) -> LLMResult:
    return LLMResult(
        generations=[[Generation(text=c.text, generation_info=_info(c.end, info))] for c in completions],
        llm_output={"model_name": info.target},
    )


def _info(end: Ending, info: EngineInfo) -> dict[str, Any]:
    return figures(end, info) | {"usage_metadata": usage_metadata(end)}
