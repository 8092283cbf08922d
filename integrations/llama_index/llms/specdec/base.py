"""`SpecDec`, the LLM class. It translates and keeps no state: the work is the engine's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseAsyncGen,
    CompletionResponseGen,
    LLMMetadata,
    MessageRole,
)
from llama_index.core.constants import DEFAULT_NUM_OUTPUTS
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.core.llms.llm import ToolSelection
from llama_index.core.tools.types import BaseTool
from pydantic import ConfigDict, Field, PrivateAttr, model_validator

from llama_index.llms.specdec.answers import Answer
from llama_index.llms.specdec.held import Held
from llama_index.llms.specdec.messages import engine_messages
from llama_index.llms.specdec.streams import astream, awhole, stream, whole
from llama_index.llms.specdec.structured import StructuredByGrammar
from llama_index.llms.specdec.tools import selections, tool_choice_of, tool_schemas
from specdec.engine import Engine
from specdec.loading import served, shared
from specdec.types import Message, Prompt, Request

_LOADING = ("device", "dtype", "context", "slots", "accept_rule", "tool_format", "trust_remote_code")
_ASKING = (
    "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty",
    "logit_bias", "max_tokens", "min_tokens", "stop", "seed", "logprobs", "speculative", "timeout",
)  # fmt: skip


class SpecDec(StructuredByGrammar):
    """A local target model, answering by speculative decoding.

        llm = SpecDec("./my-model", "./my-small-model", temperature=0.7)
        print(llm.complete("Hello!"))

    `model` is the target, "bundled", a folder or a hub id; `draft` is what drafts for it. With the `base_url` of an
    OpenAI-compatible server the model runs there, and drafts as that server was told to. All objects of a process that
    name the same ones, and the same loading options of `specdec.load`, share one engine; or give an `engine`.
    The other fields hold for every call, and a call's own keywords come before them: any field of `SamplingParams` and
    `Request`, `prediction` and `grammar` among them. None leaves a value to the checkpoint.
    `messages_to_prompt` and `completion_to_prompt` are used where the target has no chat template;
    `complete(..., formatted=True)` always continues the text itself.
    """

    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    model: str = "bundled"
    draft: str = Field(default="auto", description="auto, none, lookup, a folder or a hub id.")
    base_url: str | None = Field(default=None, description="Of a server that runs the model of this name.")
    api_key: str | None = Field(default=None, exclude=True, repr=False, description="Of that server.")
    device: str = "auto"
    dtype: str = "auto"
    context: int | None = Field(default=None, description="Tokens per slot, prompt and answer together.")
    slots: int = Field(default=4, description="How many requests run at once.")
    accept_rule: str = "coupled"
    tool_format: str = Field(default="auto", description="How the target writes tool calls.")
    trust_remote_code: bool = False

    temperature: float | None = Field(default=None, description="0 is greedy.")
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[int, float] | None = None
    max_tokens: int | None = Field(default=None, description="None: as many as the context allows.")
    min_tokens: int | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    logprobs: int | None = Field(default=None, description="How many of the likeliest tokens, beside the answer's own.")
    speculative: str | int = Field(default="auto", description="auto, off, or drafted tokens a round.")
    timeout: float | None = Field(default=None, description="Seconds for one answer.")

    _held: Held = PrivateAttr(default_factory=Held)

    def __init__(
        self, model: str = "bundled", draft: str = "auto", *, engine: Engine | None = None, **fields: Any
    ) -> None:
        if engine is not None:
            model, draft = engine.info.target, _drafting(engine)
        super().__init__(**fields | {"model": model, "draft": draft})
        self._held = Held(engine or self._shared())

    @model_validator(mode="after")
    def _check(self) -> Self:
        self._request("what holds for every call is checked before the first", {})
        return self

    @classmethod
    def class_name(cls) -> str:
        return "specdec_llm"

    @property
    def engine(self) -> Engine:
        """What answers."""
        return self._held.engine or self._shared()

    @property
    def metadata(self) -> LLMMetadata:
        info = self.engine.info
        return LLMMetadata(
            context_window=info.context,
            num_output=self.max_tokens or min(DEFAULT_NUM_OUTPUTS, info.context // 4),
            is_chat_model=info.chat_template,
            is_function_calling_model=info.tool_format is not None,
            model_name=info.target,
        )

    def tokenize(self, text: str) -> list[int]:
        """The target's tokens. `Settings.tokenizer = llm.tokenize` has the framework count with them."""
        return list(self.engine.tokenize(text)) if text else []

    # ---- the eight forms

    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        return whole(self.engine, self._chat(messages, **kwargs)).chat()

    @llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        return (await awhole(self.engine, self._chat(messages, **kwargs))).chat()

    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        return stream(self, llm_chat_callback(), self._chat, Answer.chat, messages, **kwargs)

    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        return await astream(self, llm_chat_callback(), self._chat, Answer.chat, messages, **kwargs)

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return whole(self.engine, self._complete(prompt, formatted, **kwargs)).completion()

    @llm_completion_callback()
    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return (await awhole(self.engine, self._complete(prompt, formatted, **kwargs))).completion()

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        callback = llm_completion_callback()
        return stream(self, callback, self._complete, Answer.completion, prompt, formatted, **kwargs)

    async def astream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseAsyncGen:
        callback = llm_completion_callback()
        return await astream(self, callback, self._complete, Answer.completion, prompt, formatted, **kwargs)

    # ---- tools

    def _prepare_chat_with_tools(
        self,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,  # noqa: ARG002  the framework's
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        tool_choice: str | Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        asked = ChatMessage(role=MessageRole.USER, content=user_msg) if isinstance(user_msg, str) else user_msg
        return {
            "messages": [*(chat_history or ()), *([asked] if asked else ())],
            "tools": tool_schemas(tools),
            "tool_choice": tool_choice_of(tool_choice, required=tool_required),
            "parallel_tool_calls": allow_parallel_tool_calls,
            **kwargs,
        }

    def get_tool_calls_from_response(
        self, response: ChatResponse, error_on_no_tool_call: bool = True, **_: Any
    ) -> list[ToolSelection]:
        calls = selections(response)
        if not calls and error_on_no_tool_call:
            raise ValueError(f"the answer is {response.message.content!r}; expected at least one tool call")
        return calls

    # ---- requests

    def _chat(self, messages: Sequence[ChatMessage], **options: Any) -> Request:
        turns = engine_messages(messages)
        if self.engine.info.chat_template or self.messages_to_prompt is None:
            return self._request(turns, options)
        return self._request(self.messages_to_prompt(messages), options)

    def _complete(self, prompt: str, formatted: bool, **options: Any) -> Request:
        if formatted or self.completion_to_prompt is None:
            return self._request(prompt, options)
        if self.engine.info.chat_template:
            return self._request((Message("user", prompt),), options)
        return self._request(self.completion_to_prompt(prompt), options)

    def _request(self, prompt: Prompt, options: Mapping[str, Any]) -> Request:
        own = {name: value for name in _ASKING if (value := getattr(self, name)) is not None}
        return Request.of(prompt, **own | dict(options))

    def _shared(self) -> Engine:
        loading = {name: getattr(self, name) for name in _LOADING}
        if self.base_url is None:
            return shared(self.model, self.draft, **loading)
        return shared(served(self.base_url, self.model), self.draft, api_key=self.api_key, **loading)


def _drafting(engine: Engine) -> str:
    """The `draft` that would load the like of this engine."""
    info = engine.info
    return info.draft or ("lookup" if "lookup" in info.drafters else "none")
