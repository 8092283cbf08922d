"""ChatSpecDec: LangChain's chat model over an engine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing, closing
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.language_models.model_profile import ModelProfile
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult, LLMResult
from langchain_core.runnables import Runnable, RunnableConfig
from pydantic import BaseModel

from langchain_specdec.answers import Chunks, chat_result
from langchain_specdec.base import STRICT, BaseSpecDec
from langchain_specdec.errors import translated
from langchain_specdec.messages import as_messages
from langchain_specdec.schemas import Tool, openai_tool
from langchain_specdec.structured import Method, structured
from langchain_specdec.together import at_once, generated_at_once
from specdec.engine import Engine
from specdec.loading import engines
from specdec.types import EngineInfo


class ChatSpecDec(BaseSpecDec, BaseChatModel):
    """A local target model, answering as it would alone, sooner.

        model = ChatSpecDec(model="./my-model", draft="./my-small-model", temperature=0.7)
        model.invoke("Explain rain to a child.").response_metadata["speculative"]

    Parameters of a call (`model.invoke(..., temperature=0)`) go before those of the class; `model=` even takes another
    target. `profile` is known once the engine is.
    """

    model_config = STRICT

    @property
    def _llm_type(self) -> str:
        return "specdec-chat"

    def _resolve_model_profile(self) -> ModelProfile | None:
        with translated():
            engine = self.engine or engines.peek(self._load_options())
        return _profile(engine.info) if engine else None

    # ---- answers

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        request = self._request(as_messages(messages), stop, kwargs)
        engine = self._ready(self._engine(kwargs))
        with translated():
            return chat_result(engine.generate(request), engine.info)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        request = self._request(as_messages(messages), stop, kwargs)
        engine = self._ready(await self._aengine(kwargs))
        with translated():
            return chat_result(await engine.agenerate(request), engine.info)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        request = self._request(as_messages(messages), stop, kwargs)
        engine = self._ready(self._engine(kwargs))
        chunks = Chunks(engine.info)
        with translated(), closing(engine.stream(request)) as events:
            for event in events:
                yield from chunks.of(event)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        request = self._request(as_messages(messages), stop, kwargs)
        engine = self._ready(await self._aengine(kwargs))
        chunks = Chunks(engine.info)
        with translated():
            async with aclosing(engine.astream(request)) as events:
                async for event in events:
                    for chunk in chunks.of(event):
                        yield chunk

    def _ready(self, engine: Engine) -> Engine:
        if self.profile is None:
            self.profile = _profile(engine.info)
        return engine

    # ---- several at once

    def generate(self, messages: list[list[BaseMessage]], *args: Any, **kwargs: Any) -> LLMResult:
        """All prompts share the engine's rounds."""
        return generated_at_once(super().generate, messages, *args, **kwargs)

    def batch(
        self,
        inputs: list[LanguageModelInput],
        config: RunnableConfig | list[RunnableConfig] | None = None,
        **kwargs: Any,
    ) -> list[AIMessage]:
        """All inputs share the engine's rounds, however few threads LangChain would take."""
        return super().batch(inputs, at_once(config, len(inputs)), **kwargs)

    # ---- tools and forms

    def bind_tools(
        self,
        tools: Sequence[Tool],
        *,
        tool_choice: str | bool | dict[str, Any] | None = None,
        strict: bool | None = None,
        parallel_tool_calls: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """`tool_choice`: "auto", "none", "any" ("required", True) or a tool's name. Calls follow their tool's schema,
        `strict` or not."""
        formatted = [openai_tool(tool, strict=strict) for tool in tools]
        if isinstance(tool_choice, dict):
            tool_choice = str(tool_choice.get("function", {}).get("name", ""))
        if tool_choice:
            kwargs["tool_choice"] = "required" if tool_choice in (True, "any") else tool_choice
        if parallel_tool_calls is not None:
            kwargs["parallel_tool_calls"] = parallel_tool_calls
        return self.bind(tools=formatted, **kwargs)

    def with_structured_output(
        self,
        schema: dict[str, Any] | type,
        *,
        method: Method = "function_calling",
        include_raw: bool = False,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, dict[str, Any] | BaseModel]:
        """`method`: "function_calling" offers the schema as a tool, so that the model reads it; "json_schema" holds the
        answer to the schema by grammar, whatever the model; "json_mode" to any JSON object."""
        return structured(self, schema, method, include_raw=include_raw, strict=strict, **kwargs)

    # ---- counting

    def get_num_tokens_from_messages(self, messages: list[BaseMessage], tools: Sequence[Tool] | None = None) -> int:
        """With the chat template's own tokens, and with the tools."""
        formatted = [openai_tool(tool) for tool in tools or ()]
        with translated():
            return len(self._engine({}).tokenize(as_messages(messages), formatted))


def _profile(info: EngineInfo) -> ModelProfile:
    tools = info.tool_format is not None
    return ModelProfile(
        max_input_tokens=info.context,
        max_output_tokens=info.context,
        text_inputs=True,
        text_outputs=True,
        image_inputs=False,
        audio_inputs=False,
        video_inputs=False,
        pdf_inputs=False,
        tool_calling=tools,
        tool_choice=tools,
        structured_output=True,
        reasoning_output=info.reasoning,
    )
