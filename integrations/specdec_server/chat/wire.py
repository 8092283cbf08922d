"""What goes over the wire of /v1/chat/completions, both ways."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from specdec_server.common.answer import Answer
from specdec_server.common.base import Received, Sent
from specdec_server.common.fields import MAX_TOOLS, Count, Model, Part, Sampling, StreamOptions

MAX_MESSAGES = 4096
ToolName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


class TextPart(Part):
    type: Literal["text"]
    cache_control: dict[str, str] | None = None
    """Accepted, as some tools send it: prefixes are cached anyway."""


Content = str | list[TextPart]


class FunctionCall(Received):
    name: str
    arguments: str = "{}"
    parsed_arguments: Any = None
    """As the openai package adds it to what it got; no model reads it."""


class Call(Received):
    id: str = ""
    type: Literal["function"] = "function"
    index: int | None = None
    function: FunctionCall


class ChatMessage(Received):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Content | None = None
    name: str | None = None
    tool_calls: list[Call] | None = None
    tool_call_id: str | None = None
    reasoning_content: str | None = None
    """What an assistant thought before its content."""
    refusal: str | None = None
    annotations: list[Any] | None = None
    parsed: Any = None
    """These three as an earlier answer or the openai package had them; no model reads them."""


class FunctionSpec(Received):
    name: ToolName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    """Arguments follow the schema always: a schema of which a part cannot be enforced is refused if this is true."""


class Tool(Received):
    type: Literal["function"]
    function: FunctionSpec


class NamedFunction(Received):
    name: ToolName


class NamedTool(Received):
    type: Literal["function"]
    function: NamedFunction


class JsonSchema(Received):
    name: str
    description: str | None = None
    schema_: Annotated[dict[str, Any] | bool, Field(alias="schema")] = True
    strict: bool | None = None


class ResponseFormat(Received):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class Prediction(Received):
    type: Literal["content"]
    content: Content


class ChatRequest(Sampling):
    """As OpenAI's; `top_k`, `min_p`, `speculative` and others come on top."""

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=MAX_MESSAGES)]
    model: Model | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    n: Annotated[int, Field(ge=1, le=128)] | None = None
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: ResponseFormat | None = None
    tools: Annotated[list[Tool], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    prediction: Prediction | None = None
    return_token_ids: bool | None = None
    modalities: list[Literal["text"]] | None = None
    metadata: dict[str, str] | None = None
    store: Literal[False] | None = None
    service_tier: Literal["auto", "default"] | None = None


class TopLogprob(Sent):
    token: str
    logprob: float
    bytes: list[int]


class TokenLogprob(TopLogprob):
    top_logprobs: list[TopLogprob]


class ChoiceLogprobs(Sent):
    content: list[TokenLogprob]
    refusal: None = None


class SentFunction(Sent):
    name: str
    arguments: str


class SentCall(Sent):
    id: str
    type: Literal["function"]
    function: SentFunction


class SentMessage(Sent):
    role: Literal["assistant"]
    content: str | None
    refusal: None
    reasoning_content: str | None = None
    tool_calls: list[SentCall] | None = None


Finish = Literal["stop", "length", "tool_calls"]


class Choice(Sent):
    index: int
    message: SentMessage
    logprobs: ChoiceLogprobs | None
    finish_reason: Finish
    token_ids: list[int] | None = None


class ChatCompletion(Answer):
    object: Literal["chat.completion"]
    choices: list[Choice]


class FunctionDelta(Sent):
    name: str | None = None
    arguments: str


class CallDelta(Sent):
    """The first of each index has its id, type and name; `arguments` join to JSON."""

    index: int
    id: str | None = None
    type: Literal["function"] | None = None
    function: FunctionDelta


class Delta(Sent):
    role: Literal["assistant"] | None = None
    content: str | None = None
    refusal: None = None
    reasoning_content: str | None = None
    tool_calls: list[CallDelta] | None = None


class ChunkChoice(Sent):
    index: int
    delta: Delta
    logprobs: ChoiceLogprobs | None
    finish_reason: Finish | None
    token_ids: list[int] | None = None


class ChatChunk(Answer):
    """What one round added. Usage comes alone, on a last chunk without choices, if it was asked for."""

    object: Literal["chat.completion.chunk"]
    choices: list[ChunkChoice]
