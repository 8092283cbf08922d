"""The bodies of /v1/responses: what comes, and what is sent back."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from specdec_server.figures import CompletionMetrics, CompletionTimings, CompletionUsage
from specdec_server.schemas import (
    MAX_MESSAGES,
    MAX_TOOLS,
    ContentPart,
    Count,
    RequestModel,
    ResponseModel,
    SamplingRequest,
    ToolName,
    kind_of,
)

Status = Literal["in_progress", "completed", "incomplete", "failed"]


class InputText(ContentPart):
    type: Literal["input_text", "output_text", "text", "reasoning_text"]
    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None
    parsed: Any = None
    """These three as an earlier answer or the openai package had them; no model reads them."""


class InputMessage(RequestModel):
    type: Literal["message"] = "message"
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[InputText]
    id: str | None = None
    status: Status | None = None


class InputCall(RequestModel):
    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: str
    parsed_arguments: Any = None
    """As the openai package adds it; no model reads it."""
    id: str | None = None
    status: Status | None = None


class InputResult(RequestModel):
    type: Literal["function_call_output"]
    call_id: str
    output: str | list[InputText]
    id: str | None = None
    status: Status | None = None


class InputReasoning(RequestModel):
    type: Literal["reasoning"]
    id: str | None = None
    summary: list[Any] | None = None
    content: list[InputText] | None = None
    status: Status | None = None


InputItem = Annotated[
    Annotated[InputMessage, Tag("message")]
    | Annotated[InputCall, Tag("function_call")]
    | Annotated[InputResult, Tag("function_call_output")]
    | Annotated[InputReasoning, Tag("reasoning")],
    Discriminator(
        lambda item: kind_of(item, "message"),
        custom_error_type="unsupported_item",
        custom_error_message="not supported; expected an item of type message, function_call, function_call_output or "
        "reasoning",
    ),
]


class FunctionTool(RequestModel):
    type: Literal["function"]
    name: ToolName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class ToolChoiceFunction(RequestModel):
    type: Literal["function"]
    name: ToolName


class TextFormat(RequestModel):
    type: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    description: str | None = None
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    strict: bool | None = None


class TextOptions(RequestModel):
    format: TextFormat | None = None


class ResponsesRequest(SamplingRequest):
    """As OpenAI's, except that nothing is kept between requests: the input holds the whole chat."""

    form = "responses"
    input: str | Annotated[list[InputItem], Field(min_length=1, max_length=MAX_MESSAGES)]
    instructions: str | None = None
    max_output_tokens: Count | None = None
    text: TextOptions | None = None
    tools: Annotated[list[FunctionTool], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: Literal["none", "auto", "required"] | ToolChoiceFunction | None = None
    parallel_tool_calls: bool | None = None
    prediction: str | None = None
    background: Literal[False] | None = None
    store: bool | None = None
    """Accepted, since clients send it by default; the answer says `store: false`."""
    truncation: Literal["disabled"] | None = None
    include: Annotated[list[str], Field(max_length=0)] | None = None
    metadata: dict[str, str] | None = None
    service_tier: Literal["auto", "default"] | None = None


class ResponseOutputText(ResponseModel):
    type: Literal["output_text"]
    text: str
    annotations: list[Any]


class ReasoningText(ResponseModel):
    type: Literal["reasoning_text"]
    text: str


class ResponseOutputMessage(ResponseModel):
    type: Literal["message"]
    id: str
    role: Literal["assistant"]
    status: Status
    content: list[ResponseOutputText]


class ResponseReasoning(ResponseModel):
    type: Literal["reasoning"]
    id: str
    summary: list[Any]
    content: list[ReasoningText]
    status: Status


class ResponseToolCall(ResponseModel):
    type: Literal["function_call"]
    id: str
    call_id: str
    name: str
    arguments: str
    status: Status


OutputItem = ResponseOutputMessage | ResponseReasoning | ResponseToolCall


class InputTokensDetails(ResponseModel):
    cached_tokens: int


class OutputTokensDetails(ResponseModel):
    reasoning_tokens: int


class ResponseUsage(ResponseModel):
    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int

    @classmethod
    def of(cls, usage: CompletionUsage) -> ResponseUsage:
        return cls(
            input_tokens=usage.prompt_tokens,
            input_tokens_details=InputTokensDetails(cached_tokens=usage.prompt_tokens_details.cached_tokens or 0),
            output_tokens=usage.completion_tokens,
            output_tokens_details=OutputTokensDetails(
                reasoning_tokens=usage.completion_tokens_details.reasoning_tokens or 0
            ),
            total_tokens=usage.total_tokens,
        )


class ResponseError(ResponseModel):
    code: str
    message: str


class IncompleteDetails(ResponseModel):
    reason: Literal["max_output_tokens"]


class ResponseBody(ResponseModel):
    id: str
    object: Literal["response"]
    created_at: int
    status: Status
    error: ResponseError | None
    incomplete_details: IncompleteDetails | None
    instructions: str | None
    max_output_tokens: int | None
    model: str
    output: list[OutputItem]
    parallel_tool_calls: bool
    previous_response_id: None
    store: Literal[False]
    temperature: float | None
    text: dict[str, Any]
    tool_choice: str | dict[str, Any]
    tools: list[dict[str, Any]]
    top_p: float | None
    truncation: Literal["disabled"]
    metadata: dict[str, str]
    usage: ResponseUsage | None
    timings: CompletionTimings | None = None
    metrics: CompletionMetrics | None = None


class ResponseEvent(ResponseModel):
    """One event of a stream; `type` is its name, and says which of the other fields there are."""

    type: str
    sequence_number: int
    response: ResponseBody | None = None
    output_index: int | None = None
    content_index: int | None = None
    item_id: str | None = None
    item: OutputItem | None = None
    part: ResponseOutputText | ReasoningText | None = None
    delta: str | None = None
    text: str | None = None
    arguments: str | None = None
    name: str | None = None
    logprobs: list[Any] | None = None
    code: str | None = None
    message: str | None = None
    param: str | None = None
