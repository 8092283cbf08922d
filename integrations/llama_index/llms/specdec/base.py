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
from pydantic import ConfigDict, PrivateAttr, model_validator

from llama_index.llms.specdec.answers import chat_response, completion_response
from llama_index.llms.specdec.held import Held
from llama_index.llms.specdec.messages import engine_messages
from llama_index.llms.specdec.streams import astream, stream
from llama_index.llms.specdec.structured import StructuredByGrammar
from llama_index.llms.specdec.tools import selections, tool_choice_of, tool_schemas
from specdec.engine import Engine
from specdec.frameworks import Parameters
from specdec.loading import engines
from specdec.types import Message, Prompt, Request


class SpecDec(Parameters, StructuredByGrammar):
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

    stop: str | list[str] | None = None
    logprobs: int | None = None
    """How many of the likeliest tokens, beside the answer's own."""

    _held: Held = PrivateAttr(default_factory=Held)

    def __init__(
        self, model: str = "bundled", draft: str = "auto", *, engine: Engine | None = None, **fields: Any
    ) -> None:
        if engine is not None:
            info = engine.info
            model, draft = info.target, info.draft or ("lookup" if "lookup" in info.drafters else "none")
        super().__init__(**fields | {"model": model, "draft": draft})
        self._held = Held(engine)
        if engine is None:  # what cannot be loaded is refused here
            engines.get(self._load_options())

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
        return self._held.engine or engines.get(self._load_options())

    async def _aengine(self) -> Engine:
        """The same, without blocking the loop where it has to be loaded again."""
        return self._held.engine or await engines.aget(self._load_options())

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
        return chat_response(self.engine.generate(self._chat(messages, **kwargs)))

    @llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        engine = await self._aengine()
        return chat_response(await engine.agenerate(self._chat(messages, **kwargs)))

    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        return stream(self, llm_chat_callback(), self._chat, chat_response, messages, **kwargs)

    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        return await astream(self, llm_chat_callback(), self._chat, chat_response, messages, **kwargs)

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return completion_response(self.engine.generate(self._complete(prompt, formatted, **kwargs)))

    @llm_completion_callback()
    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        engine = await self._aengine()
        return completion_response(await engine.agenerate(self._complete(prompt, formatted, **kwargs)))

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        callback = llm_completion_callback()
        return stream(self, callback, self._complete, completion_response, prompt, formatted, **kwargs)

    async def astream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseAsyncGen:
        callback = llm_completion_callback()
        return await astream(self, callback, self._complete, completion_response, prompt, formatted, **kwargs)

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
        return Request.of(prompt, **self._request_options() | dict(options))
