"""What goes over the wire of /v1/responses, both ways."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from specdec_server.chat.wire import MAX_MESSAGES, ToolName
from specdec_server.common.base import Received, Sent
from specdec_server.common.fields import MAX_TOOLS, Count, Model, Part, Sampling
from specdec_server.common.figures import Metrics, Timings

Status = Literal["in_progress", "completed", "incomplete", "failed"]


class InputText(Part):
    type: Literal["input_text", "output_text", "text", "reasoning_text"]
    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None
    parsed: Any = None
    """These three as an earlier answer or the openai package had them; no model reads them."""


class InputMessage(Received):
    type: Literal["message"] = "message"
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[InputText]
    id: str | None = None
    status: Status | None = None


class InputCall(Received):
    type: Literal["function_call"]
    call_id: str
    name: str
    arguments: str
    parsed_arguments: Any = None
    """As the openai package adds it; no model reads it."""
    id: str | None = None
    status: Status | None = None


class InputResult(Received):
    type: Literal["function_call_output"]
    call_id: str
    output: str | list[InputText]
    id: str | None = None
    status: Status | None = None


class InputReasoning(Received):
    type: Literal["reasoning"]
    id: str | None = None
    summary: list[Any] | None = None
    content: list[InputText] | None = None
    status: Status | None = None


def _kind(item: Any) -> str | None:
    """The type of an item; a message may do without."""
    kind = item.get("type", "message") if isinstance(item, dict) else None
    return kind if isinstance(kind, str) else None


InputItem = Annotated[
    Annotated[InputMessage, Tag("message")]
    | Annotated[InputCall, Tag("function_call")]
    | Annotated[InputResult, Tag("function_call_output")]
    | Annotated[InputReasoning, Tag("reasoning")],
    Discriminator(
        _kind,
        custom_error_type="unsupported_item",
        custom_error_message="not supported; expected an item of type message, function_call, function_call_output or "
        "reasoning",
    ),
]


class FunctionTool(Received):
    type: Literal["function"]
    name: ToolName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class NamedFunction(Received):
    type: Literal["function"]
    name: ToolName


class TextFormat(Received):
    type: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    description: str | None = None
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    strict: bool | None = None


class TextOptions(Received):
    format: TextFormat | None = None


class ResponseRequest(Sampling):
    """As OpenAI's, except that nothing is kept between requests: the input holds the whole chat."""

    input: str | Annotated[list[InputItem], Field(min_length=1, max_length=MAX_MESSAGES)]
    model: Model | None = None
    instructions: str | None = None
    stream: bool | None = None
    max_output_tokens: Count | None = None
    text: TextOptions | None = None
    tools: Annotated[list[FunctionTool], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedFunction | None = None
    parallel_tool_calls: bool | None = None
    prediction: str | None = None
    background: Literal[False] | None = None
    store: bool | None = None
    """Accepted, since clients send it by default; the answer says `store: false`."""
    truncation: Literal["disabled"] | None = None
    include: Annotated[list[str], Field(max_length=0)] | None = None
    metadata: dict[str, str] | None = None
    service_tier: Literal["auto", "default"] | None = None


class OutputText(Sent):
    type: Literal["output_text"]
    text: str
    annotations: list[Any]


class ReasoningText(Sent):
    type: Literal["reasoning_text"]
    text: str


class OutputMessage(Sent):
    type: Literal["message"]
    id: str
    role: Literal["assistant"]
    status: Status
    content: list[OutputText]


class OutputReasoning(Sent):
    type: Literal["reasoning"]
    id: str
    summary: list[Any]
    content: list[ReasoningText]
    status: Status


class OutputCall(Sent):
    type: Literal["function_call"]
    id: str
    call_id: str
    name: str
    arguments: str
    status: Status


OutputItem = OutputMessage | OutputReasoning | OutputCall


class InputDetails(Sent):
    cached_tokens: int


class OutputDetails(Sent):
    reasoning_tokens: int


class ResponseUsage(Sent):
    input_tokens: int
    input_tokens_details: InputDetails
    output_tokens: int
    output_tokens_details: OutputDetails
    total_tokens: int


class ResponseError(Sent):
    code: str
    message: str


class Incomplete(Sent):
    reason: Literal["max_output_tokens"]


class ResponseBody(Sent):
    id: str
    object: Literal["response"]
    created_at: int
    status: Status
    error: ResponseError | None
    incomplete_details: Incomplete | None
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
    timings: Timings | None = None
    metrics: Metrics | None = None


class ResponseEvent(Sent):
    """One event of a stream; `type` is its name, and says which of the other fields there are."""

    type: str
    sequence_number: int
    response: ResponseBody | None = None
    output_index: int | None = None
    content_index: int | None = None
    item_id: str | None = None
    item: OutputItem | None = None
    part: OutputText | ReasoningText | None = None
    delta: str | None = None
    text: str | None = None
    arguments: str | None = None
    name: str | None = None
    logprobs: list[Any] | None = None
    code: str | None = None
    message: str | None = None
    param: str | None = None
