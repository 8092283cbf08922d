"""SpecDecLLM: LangChain's completion model over an engine. It continues raw text; chats are for ChatSpecDec."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, aclosing, closing
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseLLM
from langchain_core.language_models.base import LangSmithParams
from langchain_core.outputs import Generation, GenerationChunk, LLMResult

from langchain_specdec.answers import figures, usage_metadata
from langchain_specdec.errors import translated
from langchain_specdec.settings import STRICT, Settings
from specdec.types import Completion, EngineInfo, GenerationEvent


class SpecDecLLM(Settings, BaseLLM):
    """A local target model that continues text, and the same sooner.

    SpecDecLLM(max_tokens=40).invoke("Once upon a time, there was")
    """

    model_config = STRICT

    @property
    def _llm_type(self) -> str:
        return "specdec"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return self._described()

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop or self.stop, **kwargs)
        params["ls_provider"] = "specdec"
        return params

    def _generate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        requests = [self._request(prompt, stop, kwargs) for prompt in prompts]
        engine = self._engine(kwargs)
        with translated(engine), ExitStack() as left:  # all are under way before the first is waited for
            streams = [left.enter_context(closing(engine.stream(request))) for request in requests]
            return _result([Completion.of(list(stream)) for stream in streams], engine.info)

    async def _agenerate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        requests = [self._request(prompt, stop, kwargs) for prompt in prompts]
        engine = await self._aengine(kwargs)
        with translated(engine):
            return _result(await asyncio.gather(*map(engine.agenerate, requests)), engine.info)

    def _stream(
        self,
        prompt: str,
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[GenerationChunk]:
        request, engine = self._request(prompt, stop, kwargs), self._engine(kwargs)
        with translated(engine), closing(engine.stream(request)) as events:
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
        with translated(engine):
            async with aclosing(engine.astream(request)) as events:
                async for event in events:
                    chunk = _chunk(event, engine.info)
                    if run_manager:
                        await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                    yield chunk

    def get_token_ids(self, text: str) -> list[int]:
        with translated():
            return list(self._engine({}).tokenize(text)) if text else []


def _chunk(event: GenerationEvent, info: EngineInfo) -> GenerationChunk:
    return GenerationChunk(text=event.text, generation_info=_info(event, info) if event.finish_reason else None)


def _result(completions: list[Completion], info: EngineInfo) -> LLMResult:
    return LLMResult(
        generations=[[Generation(text=c.text, generation_info=_info(c, info))] for c in completions],
        llm_output={"model_name": info.target},
    )


def _info(answer: Completion | GenerationEvent, info: EngineInfo) -> dict[str, Any]:
    assert answer.usage is not None
    return figures(answer, info) | {"usage_metadata": usage_metadata(answer.usage)}
