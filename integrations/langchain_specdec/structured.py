"""`with_structured_output`: the model bound to a form, and a parser behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from operator import itemgetter
from typing import Any, Literal, get_args

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import (
    JsonOutputKeyToolsParser,
    JsonOutputParser,
    PydanticOutputParser,
    PydanticToolsParser,
)
from langchain_core.runnables import (
    Runnable,
    RunnableGenerator,
    RunnableLambda,
    RunnableMap,
    RunnablePassthrough,
)
from langchain_core.utils.pydantic import is_basemodel_subclass
from pydantic import BaseModel

from langchain_specdec.answers import object_of
from langchain_specdec.errors import InvalidInput
from langchain_specdec.schemas import json_schema, openai_tool

Method = Literal["function_calling", "json_schema", "json_mode"]
Structured = Runnable[LanguageModelInput, dict[str, Any] | BaseModel]


def structured(
    model: BaseChatModel,
    schema: dict[str, Any] | type,
    method: str,
    *,
    include_raw: bool,
    strict: bool | None,
    **kwargs: Any,
) -> Structured:
    """See `ChatSpecDec.with_structured_output`."""
    if method not in get_args(Method):
        raise InvalidInput(f"method is {method!r}; expected {', '.join(get_args(Method))}")
    name = openai_tool(schema)["function"]["name"]
    of_class: Any = schema if isinstance(schema, type) and is_basemodel_subclass(schema) else None
    kwargs["ls_structured_output_format"] = traced = {"kwargs": {"method": method, "strict": strict}, "schema": schema}
    if method == "function_calling":
        llm = model.bind_tools([schema], tool_choice=name, strict=strict, parallel_tool_calls=False, **kwargs)
        parser: Runnable[Any, Any] = (
            PydanticToolsParser(tools=[of_class], first_tool_only=True)
            if of_class
            else JsonOutputKeyToolsParser(key_name=name, first_tool_only=True)
        )
    else:
        traced["schema"] = described = json_schema(schema, strict=strict)
        form: dict[str, Any] = {"type": "json_object"}
        if method == "json_schema":
            wanted = {"name": described["title"], "schema": described, "strict": strict}
            form = {"type": "json_schema", "json_schema": wanted}
        llm = model.bind(response_format=form, **kwargs)
        parser = PydanticOutputParser(pydantic_object=of_class) if of_class else JsonOutputParser()
    parser = _whole(name) | parser
    if not include_raw:
        return llm | parser
    parsed = RunnablePassthrough.assign(parsed=itemgetter("raw") | parser, parsing_error=lambda _: None)
    failed = RunnablePassthrough.assign(parsed=lambda _: None)
    read = parsed.with_fallbacks([failed], exception_key="parsing_error")
    return RunnableMap(raw=llm) | RunnableLambda(read.invoke, read.ainvoke)  # in streams, too, only the whole answer


def _whole(name: str) -> Runnable[Any, Any]:
    """Between model and parser: hands on what comes, and refuses at its end what max_tokens cut."""

    def check(answer: AIMessage | None) -> None:
        if answer is None or answer.response_metadata.get("finish_reason") != "length":
            return
        if not answer.tool_calls and object_of(answer.text) is None:
            assert answer.usage_metadata is not None
            length = answer.usage_metadata["output_tokens"]
            raise InvalidInput(f"max_tokens is {length}; expected enough for the whole {name}")

    def passed(answers: Iterator[Any]) -> Iterator[Any]:
        answer = None
        for part in answers:
            yield part
            answer = part if answer is None else answer + part
        check(answer)

    async def apassed(answers: AsyncIterator[Any]) -> AsyncIterator[Any]:
        answer = None
        async for part in answers:
            yield part
            answer = part if answer is None else answer + part
        check(answer)

    return RunnableGenerator(passed, apassed)
