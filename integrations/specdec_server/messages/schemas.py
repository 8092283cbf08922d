"""What goes over the wire of /v1/messages, both ways."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from specdec_server.figures import CompletionMetrics, CompletionTimings, CompletionUsage
from specdec_server.schemas import (
    MAX_MESSAGES,
    MAX_STOPS,
    MAX_TOOLS,
    ContentPart,
    Count,
    MessageErrorInfo,
    RequestModel,
    ResponseModel,
    SamplingRequest,
    Stop,
    ToolName,
    kind_of,
)


class TextBlock(ContentPart):
    type: Literal["text"]


class ToolUseBlock(RequestModel):
    type: Literal["tool_use"]
    id: str
    name: str
    input: dict[str, Any]


class ToolResultBlock(RequestModel):
    type: Literal["tool_result"]
    tool_use_id: str
    content: str | list[TextBlock] | None = None


class ThinkingBlock(RequestModel):
    type: Literal["thinking"]
    thinking: str
    signature: str | None = None
    """Accepted: thoughts are not signed here."""


class RedactedThinkingBlock(RequestModel):
    """A thought that only its maker can read; no model here does."""

    type: Literal["redacted_thinking"]
    data: str | None = None


Block = Annotated[
    Annotated[TextBlock, Tag("text")]
    | Annotated[ToolUseBlock, Tag("tool_use")]
    | Annotated[ToolResultBlock, Tag("tool_result")]
    | Annotated[ThinkingBlock, Tag("thinking")]
    | Annotated[RedactedThinkingBlock, Tag("redacted_thinking")],
    Discriminator(
        kind_of,
        custom_error_type="unsupported_block",
        custom_error_message="not supported; expected a block of type text, tool_use, tool_result, thinking or "
        "redacted_thinking",
    ),
]


class MessageTurn(RequestModel):
    role: Literal["user", "assistant", "system"]
    content: str | list[Block]

    @property
    def blocks(self) -> list[Block]:
        content = self.content
        return [TextBlock.model_validate({"type": "text", "text": content})] if isinstance(content, str) else content


class MessageTool(RequestModel):
    type: Literal["custom"] | None = None
    name: ToolName
    description: str | None = None
    input_schema: dict[str, Any]
    strict: bool | None = None


class MessageToolChoice(RequestModel):
    type: Literal["auto", "any", "tool", "none"]
    name: ToolName | None = None
    disable_parallel_tool_use: bool | None = None


class OutputFormat(RequestModel):
    type: Literal["json_schema"]
    schema_: Annotated[dict[str, Any], Field(alias="schema")]


class OutputConfig(RequestModel):
    format: OutputFormat | None = None


class MessagesRequest(SamplingRequest):
    """As Anthropic's, except that the bound of an answer may be left out; `seed`, `speculative` and others come on
    top."""

    form = "messages"
    messages: Annotated[list[MessageTurn], Field(min_length=1, max_length=MAX_MESSAGES)]
    system: str | list[TextBlock] | None = None
    max_tokens: Count | None = None
    stop: Annotated[list[Stop], Field(max_length=MAX_STOPS)] | None = Field(None, alias="stop_sequences")
    tools: Annotated[list[MessageTool], Field(max_length=MAX_TOOLS)] | None = None
    tool_choice: MessageToolChoice | None = None
    output_config: OutputConfig | None = None


class MessageText(ResponseModel):
    type: Literal["text"]
    text: str


class MessageThinking(ResponseModel):
    type: Literal["thinking"]
    thinking: str
    signature: str


class MessageToolUse(ResponseModel):
    type: Literal["tool_use"]
    id: str
    name: str
    input: dict[str, Any]


MessageBlock = MessageText | MessageThinking | MessageToolUse


class MessageTokensDetails(ResponseModel):
    thinking_tokens: int | None


class MessageUsage(ResponseModel):
    """`input_tokens` are those that were computed; those that were cached come on top."""

    input_tokens: int
    cache_creation_input_tokens: int
    cache_read_input_tokens: int
    output_tokens: int
    output_tokens_details: MessageTokensDetails

    @classmethod
    def of(cls, usage: CompletionUsage) -> MessageUsage:
        cached = usage.prompt_tokens_details.cached_tokens or 0
        return cls(
            input_tokens=usage.prompt_tokens - cached,
            cache_creation_input_tokens=0,
            cache_read_input_tokens=cached,
            output_tokens=usage.completion_tokens,
            output_tokens_details=MessageTokensDetails(
                thinking_tokens=usage.completion_tokens_details.reasoning_tokens
            ),
        )


StopReason = Literal["end_turn", "max_tokens", "stop_sequence", "tool_use"]


class MessageEnd(ResponseModel):
    stop_reason: StopReason
    stop_sequence: str | None


class MessageBody(ResponseModel):
    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[MessageBlock]
    stop_reason: StopReason | None
    stop_sequence: str | None
    usage: MessageUsage
    timings: CompletionTimings | None = None
    metrics: CompletionMetrics | None = None


class MessageBlockDelta(ResponseModel):
    """`type` says which of the others there is."""

    type: Literal["text_delta", "thinking_delta", "signature_delta", "input_json_delta"]
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    partial_json: str | None = None


class MessageEvent(ResponseModel):
    """One event of a stream; `type` is its name, and says which of the other fields there are."""

    type: str
    message: MessageBody | None = None
    index: int | None = None
    content_block: MessageBlock | None = None
    delta: MessageBlockDelta | MessageEnd | None = None
    usage: MessageUsage | None = None
    timings: CompletionTimings | None = None
    metrics: CompletionMetrics | None = None
    error: MessageErrorInfo | None = None


class MessageTokens(ResponseModel):
    input_tokens: int
