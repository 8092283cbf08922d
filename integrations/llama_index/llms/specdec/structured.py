"""Structured prediction by grammar: the answer is JSON that is valid by the class's schema, from its first token on."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import aclosing, closing
from typing import Any, Generic

from llama_index.core.base.llms.types import ChatMessage, ChatResponse, MessageRole, TextBlock
from llama_index.core.instrumentation.events.llm import (
    LLMStructuredPredictEndEvent,
    LLMStructuredPredictStartEvent,
)
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.program.utils import FlexibleModel, create_flexible_model
from llama_index.core.prompts import PromptTemplate
from llama_index.core.types import Model, PydanticProgramMode
from llama_index_instrumentation import get_dispatcher
from pydantic import ValidationError
from pydantic.json_schema import GenerateJsonSchema

from llama_index.llms.specdec.tools import parsed
from specdec.errors import InvalidRequest
from specdec.text.schemas import closed
from specdec.types import Grammar

_dispatcher = get_dispatcher(__name__)


class _Untitled(GenerateJsonSchema):
    """Without a title at every field: it says the name again, and small models answer with it."""

    def field_title_should_be_set(self, schema: object) -> bool:  # noqa: ARG002
        return False


class Structure(Generic[Model]):
    """What an answer is to be: an instance of `output_cls`."""

    def __init__(self, output_cls: type[Model]) -> None:
        self._output_cls = output_cls
        self._schema = closed(output_cls.model_json_schema(schema_generator=_Untitled))
        self._flexible: type[FlexibleModel] = create_flexible_model(output_cls)
        self.grammar = Grammar.json_schema(self._schema)

    def asked(self, messages: Sequence[ChatMessage]) -> list[ChatMessage]:
        """The chat with the schema said at its end: the grammar forces the form, not the sense."""
        schema = json.dumps(self._schema, ensure_ascii=False)
        order = f"Answer with one JSON object that matches this schema:\n{schema}"
        if not messages or messages[-1].role is not MessageRole.USER:
            return [*messages, ChatMessage(role=MessageRole.USER, content=order)]
        *before, last = messages
        blocks = [*last.blocks, TextBlock(text="\n" + order)]
        return [*before, last.model_copy(update={"blocks": blocks})]

    def instance(self, response: ChatResponse) -> Model:
        """The answer's value. A ValueError where it was cut, or where the class's own validators refuse it."""
        if response.raw and response.raw["finish_reason"] == "length":
            expected = f"enough for the whole {self._output_cls.__name__}"
            raise InvalidRequest("max_tokens", response.raw["usage"]["completion_tokens"], expected)
        return self._output_cls.model_validate_json(response.message.content or "")

    def partial(self, response: ChatResponse) -> Model | FlexibleModel:
        """What there is so far: an instance as soon as one can be made, before that one of any fields."""
        so_far = parsed(response.message.content or "", partial="trailing-strings") or {}
        try:
            return self._output_cls.model_validate(so_far)
        except ValidationError:
            return self._flexible.model_validate(so_far)


class StructuredByGrammar(FunctionCallingLLM):
    """The framework's structured predictions, over `chat` with a grammar.

    A `pydantic_program_mode` other than the default asks for one of the framework's own ways instead.
    """

    def structured_predict(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Model:
        if self._by_program:
            value: Model = super().structured_predict(output_cls, prompt, llm_kwargs, **prompt_args)
            return value
        _started(output_cls, prompt, prompt_args)
        structure = Structure(output_cls)
        response = self.chat(**self._call(structure, prompt, llm_kwargs, prompt_args))
        return _ended(structure.instance(response))

    async def astructured_predict(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Model:
        if self._by_program:
            value: Model = await super().astructured_predict(output_cls, prompt, llm_kwargs, **prompt_args)
            return value
        _started(output_cls, prompt, prompt_args)
        structure = Structure(output_cls)
        response = await self.achat(**self._call(structure, prompt, llm_kwargs, prompt_args))
        return _ended(structure.instance(response))

    # What `stream_structured_predict` and `astream_structured_predict` of the framework call between their events:

    def _structured_stream_call(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> Generator[Model | list[Model] | FlexibleModel | list[FlexibleModel], None, None]:
        if self._by_program:
            yield from super()._structured_stream_call(output_cls, prompt, llm_kwargs, **prompt_args)
            return
        structure = Structure(output_cls)
        with closing(self.stream_chat(**self._call(structure, prompt, llm_kwargs, prompt_args))) as responses:
            for response in responses:
                yield structure.instance(response) if response.raw else structure.partial(response)

    async def _structured_astream_call(
        self,
        output_cls: type[Model],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None = None,
        **prompt_args: Any,
    ) -> AsyncGenerator[Model | list[Model] | FlexibleModel | list[FlexibleModel], None]:
        if self._by_program:
            return await super()._structured_astream_call(output_cls, prompt, llm_kwargs, **prompt_args)
        structure = Structure(output_cls)
        return self._apartials(structure, self._call(structure, prompt, llm_kwargs, prompt_args))

    async def _apartials(
        self, structure: Structure[Model], call: dict[str, Any]
    ) -> AsyncGenerator[Model | FlexibleModel, None]:
        async with aclosing(await self.astream_chat(**call)) as responses:
            async for response in responses:
                yield structure.instance(response) if response.raw else structure.partial(response)

    @property
    def _by_program(self) -> bool:
        return self.pydantic_program_mode is not PydanticProgramMode.DEFAULT

    def _call(
        self,
        structure: Structure[Any],
        prompt: PromptTemplate,
        llm_kwargs: dict[str, Any] | None,
        prompt_args: dict[str, Any],
    ) -> dict[str, Any]:
        messages = self._extend_messages(prompt.format_messages(llm=self, **prompt_args))
        return {"messages": structure.asked(messages), "grammar": structure.grammar, **(llm_kwargs or {})}


def _started(output_cls: type[Any], prompt: PromptTemplate, prompt_args: dict[str, Any]) -> None:
    event = LLMStructuredPredictStartEvent(output_cls=output_cls, template=prompt, template_args=prompt_args)
    _dispatcher.event(event)


def _ended(output: Model) -> Model:
    _dispatcher.event(LLMStructuredPredictEndEvent(output=output))
    return output
