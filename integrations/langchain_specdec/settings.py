"""What both classes are set up with: which engine answers, and how a call becomes its request."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from langchain_core.utils import from_env
from pydantic import BaseModel, ConfigDict, Field, SecretStr, SkipValidation, model_validator

from langchain_specdec.errors import InvalidInput, translated
from specdec.engine import Engine
from specdec.loading import loaded, served, shared
from specdec.text.schemas import closed
from specdec.types import Grammar, Request, Speculative

_LOADING = ("device", "dtype", "context", "slots", "accept_rule", "tool_format", "trust_remote_code")
_ASKING = (
    "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty",
    "logit_bias", "max_tokens", "min_tokens", "stop", "seed", "speculative", "timeout",
)  # fmt: skip
STRICT = ConfigDict(extra="forbid", arbitrary_types_allowed=True)
"""Of the classes themselves: LangChain's own, which ignores misspelt parameters, comes after that of `Settings`."""
_ELSEWHERE = ("max_retries",)
"""Standard parameters of LangChain's that mean nothing here."""
_NOT_ASKED = ("model", "draft", "response_format", "strict", "stream", "logprobs", "top_logprobs",
              "ls_structured_output_format")  # fmt: skip


class Settings(BaseModel):
    """Everything but the target has a default; `None` leaves it to the checkpoint.

    Engines are shared: whoever names the same models and loading options gets the same one, loaded by the first call.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    model: str = Field(default_factory=from_env("SPECDEC_TARGET", default="bundled"))
    """Target model: "bundled", a folder, a hub id, or the base URL of a server, as for `specdec.load`."""
    draft: str = Field(default_factory=from_env("SPECDEC_DRAFT", default="auto"))
    """What drafts: "auto", "none", "lookup", a folder or a hub id."""
    base_url: str | None = None
    """Of an OpenAI-compatible server that runs the model of this name, and drafts as it was told to."""
    engine: SkipValidation[Engine | None] = Field(default=None, exclude=True, repr=False)
    """An engine of one's own, instead of one by the names above."""
    api_key: SecretStr | None = Field(default=None, exclude=True)
    """Of a server; means nothing elsewhere."""
    device: str = "auto"
    dtype: str = "auto"
    context: int | None = None
    slots: int = 4
    """How many requests run at once."""
    accept_rule: str = "coupled"
    tool_format: str = "auto"
    trust_remote_code: bool = False

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[int, float] | None = None
    max_tokens: int | None = None
    min_tokens: int | None = None
    stop: list[str] | None = None
    seed: int | None = None
    logprobs: bool = False
    top_logprobs: int | None = None
    speculative: Speculative = "auto"
    """"auto", "off", or drafted tokens a round."""
    timeout: float | None = None
    """Seconds."""
    streaming: bool = False
    """Stream under the hood where only the whole answer is asked for, so that callbacks see it come."""

    @model_validator(mode="before")
    @classmethod
    def _without_what_others_need(cls, values: Any) -> Any:
        return {k: v for k, v in values.items() if k not in _ELSEWHERE} if isinstance(values, dict) else values

    def __getstate__(self) -> dict[Any, Any]:
        if self.engine is not None:
            raise TypeError(
                f"this {type(self).__name__} was given an engine, which stays in its process; give it a model's name"
            )
        return super().__getstate__()

    # ---- the engine

    def _engine(self, options: Mapping[str, Any]) -> Engine:
        """The engine for a call with these options."""
        with translated():
            engine = self._at_hand(options)
            return shared(*self._names(options), **self._loading(options)) if engine is None else engine

    async def _aengine(self, options: Mapping[str, Any]) -> Engine:
        """The same, without blocking the loop while it loads."""
        engine = self._at_hand(options)
        return await asyncio.to_thread(self._engine, options) if engine is None else engine

    def _at_hand(self, options: Mapping[str, Any]) -> Engine | None:
        """The same, if it needs no loading."""
        if self.engine is not None and options.get("model") is None:
            return self.engine
        return loaded(*self._names(options), **self._loading(options))

    def _names(self, options: Mapping[str, Any]) -> tuple[str, str]:
        """A call may name another target; what drafts for ours need not fit that."""
        target = options.get("model") or self.model
        draft = options.get("draft") or (self.draft if target == self.model else "auto")
        if self.base_url is not None:
            with translated():
                target = served(self.base_url, str(target))
        return str(target), str(draft)

    def _loading(self, options: Mapping[str, Any]) -> dict[str, Any]:
        loading = {name: getattr(self, name) for name in _LOADING}
        if self.api_key is not None and self._names(options)[0].startswith(("http://", "https://")):
            loading["api_key"] = self.api_key.get_secret_value()
        return loading

    # ---- the request

    def _request(self, prompt: str | Iterable[Any], stop: list[str] | None, options: Mapping[str, Any]) -> Request:
        """A call's options go before our own."""
        ours = {name: getattr(self, name) for name in _ASKING}
        asked = {k: v for k, v in options.items() if k not in _NOT_ASKED}
        merged = {k: v for k, v in {**ours, **asked}.items() if v is not None}
        if stop is not None:
            merged["stop"] = stop
        with translated():
            grammar = _form(options.get("response_format"))
            if grammar is not None:
                merged["grammar"] = grammar
            return Request.of(prompt, logprobs=self._logprobs(options), **merged)

    def _logprobs(self, options: Mapping[str, Any]) -> int | None:
        top = options.get("top_logprobs", self.top_logprobs)
        return (top or 0) if options.get("logprobs", self.logprobs) or top is not None else None

    def _described(self) -> dict[str, Any]:
        """What an answer depends on."""
        engine = self.engine
        names = ("model", "draft", *_LOADING, *_ASKING, "logprobs", "top_logprobs")
        own = {} if engine is None else {"model": engine.info.target, "draft": engine.info.draft}
        return {name: getattr(self, name) for name in names} | own


def _form(response_format: Any) -> Grammar | None:
    """OpenAI's response_format."""
    if response_format is None or response_format == {"type": "text"}:
        return None
    kind = response_format.get("type") if isinstance(response_format, Mapping) else None
    if kind == "json_object":
        return Grammar.json_object()
    described = response_format.get("json_schema") if kind == "json_schema" else None
    if not isinstance(described, Mapping) or not isinstance(described.get("schema"), Mapping):
        expected = 'a dict of type "text", "json_object", or "json_schema" with its schema'
        raise InvalidInput(f"response_format is {response_format!r}; expected {expected}")
    return Grammar.json_schema(closed(described["schema"]), strict=bool(described.get("strict")))
