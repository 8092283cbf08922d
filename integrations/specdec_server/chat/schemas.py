"""The bodies of /v1/chat/completions: what comes, and what is sent back."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from specdec_server.figures import CompletionResponse
from specdec_server.schemas import (
    MAX_MESSAGES,
    MAX_TOOLS,
    ChoicesRequest,
    ContentPart,
    Count,
    RequestModel,
    ResponseModel,
    ToolName,
)


class TextPart(ContentPart):
    type: Literal["text"]
    cache_control: dict[str, str] | None = None
    """Accepted, as some tools send it: prefixes are cached anyway."""


Content = str | list[TextPart]


class FunctionCallParam(RequestModel):
    name: str
    arguments: str = "{}"
    parsed_arguments: Any = None
    """As the openai package adds it to what it got; no model reads it."""


class ToolCallParam(RequestModel):
    id: str = ""
    type: Literal["function"] = "function"
    index: int | None = None
    function: FunctionCallParam


class ChatMessage(RequestModel):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Content | None = None
    name: str | None = None
    tool_calls: list[ToolCallParam] | None = None
    tool_call_id: str | None = None
    reasoning_content: str | None = None
    """What an assistant thought before its content."""
    refusal: str | None = None
    annotations: list[Any] | None = None
    parsed: Any = None
    """These three as an earlier answer or the openai package had them; no model reads them."""


class FunctionDefinition(RequestModel):
    name: ToolName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    """Arguments follow the schema always: a schema of which a part cannot be enforced is refused if this is true."""


class ChatTool(RequestModel):
    type: Literal["function"]
    function: FunctionDefinition


class NamedChatFunction(RequestModel):
    name: ToolName


class NamedChatTool(RequestModel):
    type: Literal["function"]
    function: NamedChatFunction


class JsonSchema(RequestModel):
    name: str
    description: str | None = None
    schema_: Annotated[dict[str, Any] | bool, Field(alias="schema")] = True
    strict: bool | None = None


class ResponseFormat(RequestModel):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class Prediction(RequestModel):
    type: Literal["content"]
    content: Content


class ChatCompletionRequest(ChoicesRequest):
    """As OpenAI's; `top_k`, `min_p`, `speculative` and others come on top."""

    form = "chat"
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=MAX_MESSAGES)]
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: ResponseFormat | None = None
    tools: Annotated[list[ChatTool], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedChatTool | None = None
    parallel_tool_calls: bool | None = None
    prediction: Prediction | None = None
    modalities: list[Literal["text"]] | None = None
    metadata: dict[str, str] | None = None
    store: Literal[False] | None = None
    service_tier: Literal["auto", "default"] | None = None


class TopLogprob(ResponseModel):
    token: str
    logprob: float
    bytes: list[int]


class ChatTokenLogprob(TopLogprob):
    top_logprobs: list[TopLogprob]


class ChoiceLogprobs(ResponseModel):
    content: list[ChatTokenLogprob]
    refusal: None = None


class FunctionCall(ResponseModel):
    name: str
    arguments: str


class MessageToolCall(ResponseModel):
    id: str
    type: Literal["function"]
    function: FunctionCall


class ChatCompletionMessage(ResponseModel):
    role: Literal["assistant"]
    content: str | None
    refusal: None
    reasoning_content: str | None = None
    tool_calls: list[MessageToolCall] | None = None


Finish = Literal["stop", "length", "tool_calls"]


class ChatCompletionChoice(ResponseModel):
    index: int
    message: ChatCompletionMessage
    logprobs: ChoiceLogprobs | None
    finish_reason: Finish
    token_ids: list[int] | None = None


class ChatCompletion(CompletionResponse):
    object: Literal["chat.completion"]
    choices: list[ChatCompletionChoice]


class ChoiceDeltaFunction(ResponseModel):
    name: str | None = None
    arguments: str


class ChoiceDeltaToolCall(ResponseModel):
    """The first of each index has its id, type and name; `arguments` join to JSON."""

    index: int
    id: str | None = None
    type: Literal["function"] | None = None
    function: ChoiceDeltaFunction


class ChoiceDelta(ResponseModel):
    role: Literal["assistant"] | None = None
    content: str | None = None
    refusal: None = None
    reasoning_content: str | None = None
    tool_calls: list[ChoiceDeltaToolCall] | None = None


class ChunkChoice(ResponseModel):
    index: int
    delta: ChoiceDelta
    logprobs: ChoiceLogprobs | None
    finish_reason: Finish | None
    token_ids: list[int] | None = None


class ChatCompletionChunk(CompletionResponse):
    """What one round added. Usage comes alone, on a last chunk without choices, if it was asked for."""

    object: Literal["chat.completion.chunk"]
    choices: list[ChunkChoice]
