"""What the endpoints' schemas have in common: their bases, the fields that requests share, and an error."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from specdec.errors import InvalidRequest
from specdec.types import MAX_SEED, Effort, Grammar, Prompt, Reasoning, Request, SamplingParams

MAX_STOPS = 16
MAX_TOOLS = 1024
MAX_BIASES = 1024
MAX_MESSAGES = 4096
LEAST_LOGPROB = -9999.0
"""-inf is no JSON; OpenAI's own floor stands for it, and for a token that has none."""

Stop = Annotated[str, Field(max_length=1000)]
Count = Annotated[int, Field(ge=1, le=2**31)]
Whole = Annotated[int, Field(ge=0, le=2**31)]
ToolName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:/-]{1,128}$")]
Form = Literal["chat", "completions", "responses", "messages", "embeddings"]
"""Of a body: what its fields are called, and what may be in them."""


class RequestModel(BaseModel):
    """Part of a request. A field that is not known is refused: a parameter must not be dropped in silence. Null asks
    for nothing: clients that send back what they got have it in fields that only they know."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)
    __pydantic_extra__: dict[str, None]


class ResponseModel(BaseModel):
    """Part of an answer. Fields that were never set are left out; those set to None are null."""

    model_config = ConfigDict(extra="forbid")

    def to_json(self) -> str:
        """One line of plain ASCII: some clients take U+2028 for the end of a line."""
        return self.model_dump_json(exclude_unset=True, ensure_ascii=True)


class ErrorInfo(ResponseModel):
    message: str
    type: str
    param: str | None
    code: str | None


class ErrorResponse(ResponseModel):
    error: ErrorInfo


class MessageErrorInfo(ResponseModel):
    type: str
    message: str


class MessageErrorResponse(ResponseModel):
    """Anthropic's form of an error."""

    type: Literal["error"]
    error: MessageErrorInfo


class InputTokens(ResponseModel):
    object: Literal["response.input_tokens"]
    input_tokens: int
    token_ids: list[int] | None = None
    """For `return_token_ids`."""


class ContentPart(RequestModel):
    """Of a message's content: text, which is all that a model reads here."""

    type: str
    text: str


def kind_of(part: Any, otherwise: str | None = None) -> str | None:
    """The type that a part of a body names, as far as it is one; parts of some lists may do without."""
    kind = part.get("type", otherwise) if isinstance(part, dict) else None
    return kind if isinstance(kind, str) else None


def text_of(content: str | Sequence[ContentPart]) -> str:
    """Parts are texts of their own, as chat templates and other servers have them: each begins a line."""
    return content if isinstance(content, str) else "\n".join(part.text for part in content)


def format_grammar(kind: str, schema: dict[str, Any] | bool | None, strict: bool | None, field: str) -> Grammar | None:
    """Of a format that is text, json_object or json_schema; `field` is where the schema should be."""
    if kind == "text":
        return None
    if kind == "json_object":
        return Grammar.json_object()
    if schema is None:
        raise InvalidRequest(field, None, "a schema, since the type is json_schema")
    return Grammar.json_schema(json.dumps(schema) if isinstance(schema, bool) else schema, strict=bool(strict))


class StructuredOutputs(RequestModel):
    """vLLM's name for grammars beyond JSON; one of them."""

    json_: dict[str, Any] | str | None = Field(None, alias="json")
    json_object: Literal[True] | None = None
    regex: str | None = None
    choice: list[str] | None = None
    grammar: str | None = None
    """Lark, its start rule named `start`."""

    def to_grammar(self) -> Grammar:
        makers: tuple[tuple[Any, Callable[[Any], Grammar]], ...] = (
            (self.json_, Grammar.json_schema),
            (self.json_object, lambda _: Grammar.json_object()),
            (self.regex, Grammar.regex),
            (self.choice, Grammar.choice),
            (self.grammar, Grammar.lark),
        )
        given = [(make, value) for value, make in makers if value is not None]
        if len(given) != 1:
            expected = "exactly one of json, json_object, regex, choice and grammar"
            raise InvalidRequest("structured_outputs", len(given), expected)
        ((make, value),) = given
        return make(value)


class BodyRequest(RequestModel):
    """The body of a request: its form, and which model it is for."""

    form: ClassVar[Form]
    model: Annotated[str, Field(max_length=1000)] | None = None


class SamplingRequest(BodyRequest):
    """What the bodies share that ask for answers: OpenAI's parameters and our engine's."""

    stream: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: Whole | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: Annotated[dict[str, float], Field(max_length=MAX_BIASES)] | None = None
    min_tokens: Whole | None = None
    stop: Stop | Annotated[list[Stop], Field(max_length=MAX_STOPS)] | None = None
    stop_token_ids: Annotated[list[Whole], Field(max_length=MAX_BIASES)] | None = None
    ignore_eos: bool | None = None
    seed: int | None = None
    speculative: Literal["auto", "off"] | int | None = None
    """auto drafts as many tokens as pay, off none, a number that many every round."""
    remember: bool | None = None
    """False: neither draft from recent answers nor leave one."""
    structured_outputs: StructuredOutputs | None = None
    chat_template_kwargs: dict[str, Any] | None = None
    """Variables of the chat template."""
    enable_thinking: bool | None = None
    reasoning_effort: Literal["none"] | Effort | None = None
    max_reasoning_tokens: Count | None = None
    user: str | None = None
    """Whose turn it is among those who wait."""
    safety_identifier: str | None = None
    """OpenAI's newer name for the user."""
    prompt_cache_key: str | None = None
    """Accepted: prefixes are cached anyway."""

    def to_request(
        self,
        prompt: Prompt,
        choice: int = 0,
        *,
        max_tokens: int | None,
        logprobs: int | None = None,
        grammar: Grammar | None = None,
        **options: Any,
    ) -> Request:
        """The engine's, for one of several choices: each draws with a seed of its own. `options` are its other
        fields. Raises InvalidRequest."""
        if self.structured_outputs:
            if grammar:
                raise InvalidRequest("structured_outputs", None, "none beside response_format")
            grammar = self.structured_outputs.to_grammar()
        biases = self.logit_bias or {}
        if not all(token.isascii() and token.isdigit() and len(token) <= 9 for token in biases):
            raise InvalidRequest("logit_bias", None, "token ids as keys")
        sampling = SamplingParams(
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            min_p=self.min_p,
            repetition_penalty=self.repetition_penalty,
            presence_penalty=self.presence_penalty or 0.0,
            frequency_penalty=self.frequency_penalty or 0.0,
            logit_bias={int(token): bias for token, bias in biases.items()},
            max_tokens=max_tokens,
            min_tokens=self.min_tokens or 0,
            stop=(self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ()),
            stop_token_ids=tuple(self.stop_token_ids or ()),
            ignore_eos=bool(self.ignore_eos),
            seed=None if self.seed is None else (self.seed + choice) & MAX_SEED,  # OpenAI's may be negative
            logprobs=logprobs,
            grammar=grammar,
        )
        effort = self.reasoning_effort
        off = self.enable_thinking is False
        reasoning: Reasoning = (
            "off" if off or effort == "none" else effort or ("on" if self.enable_thinking else "auto")
        )
        return Request(
            prompt,
            sampling,
            "auto" if self.speculative is None else self.speculative,
            client=self.user or self.safety_identifier or "",
            reasoning=reasoning,
            max_reasoning_tokens=self.max_reasoning_tokens,
            template=self.chat_template_kwargs or {},
            progress=True,
            remember=self.remember is not False,
            **options,
        )


class StreamOptions(RequestModel):
    include_usage: bool = False
    include_obfuscation: bool | None = None
    """Accepted: there is nothing to hide from others on loopback."""


class ChoicesRequest(SamplingRequest):
    """What requests for chat completions and completions share besides."""

    stream_options: StreamOptions | None = None
    n: Annotated[int, Field(ge=1, le=128)] | None = None
    return_token_ids: bool | None = None
