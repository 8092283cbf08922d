"""What both classes are set up with: which engine answers, and how a call becomes its request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from langchain_core.language_models.base import LangSmithParams
from langchain_core.utils import from_env
from pydantic import ConfigDict, Field, SkipValidation, model_validator

from langchain_specdec.errors import InvalidInput, translated
from specdec.engine import Engine
from specdec.frameworks import Parameters
from specdec.loading import engines
from specdec.text.schemas import closed
from specdec.types import Grammar, Request

STRICT = ConfigDict(extra="forbid", arbitrary_types_allowed=True)
"""Of the classes themselves: LangChain's own, which ignores misspelt parameters, comes after that of the base."""
_IGNORED = {"max_retries"}
"""Standard parameters of LangChain's that mean nothing here."""
_NO_OPTIONS = {"model", "draft", "response_format", "strict", "stream", "top_logprobs", "ls_structured_output_format"}
"""Of a call, but not of its request."""


class BaseSpecDec(Parameters):
    """The parameters of both classes. Engines are loaded by the first call."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    model: str = Field(default_factory=from_env("SPECDEC_TARGET", default="bundled"))
    """Target model: "bundled", a folder, a hub id, or the base URL of a server, as for `specdec.load`."""
    draft: str = Field(default_factory=from_env("SPECDEC_DRAFT", default="auto"))
    """What drafts: "auto", "none", "lookup", a folder or a hub id."""
    engine: SkipValidation[Engine | None] = Field(default=None, exclude=True, repr=False)
    """An engine of one's own, instead of one by the names above."""
    stop: list[str] | None = None
    logprobs: bool = False
    top_logprobs: int | None = None
    streaming: bool = False
    """Stream under the hood where only the whole answer is asked for, so that callbacks see it come."""

    @model_validator(mode="before")
    @classmethod
    def _without_what_others_need(cls, values: Any) -> Any:
        return {k: v for k, v in values.items() if k not in _IGNORED} if isinstance(values, dict) else values

    def __getstate__(self) -> dict[Any, Any]:
        if self.engine is not None:
            raise TypeError(
                f"this {type(self).__name__} was given an engine, which stays in its process; give it a model's name"
            )
        return super().__getstate__()

    @property
    def _identifying_params(self) -> dict[str, Any]:
        """What an answer depends on."""
        names = BaseSpecDec.model_fields.keys() - {"engine", "api_key", "streaming"}
        own = {"model": self.engine.info.target, "draft": self.engine.info.draft} if self.engine else {}
        return {name: getattr(self, name) for name in sorted(names)} | own

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params: LangSmithParams = super()._get_ls_params(stop=stop or self.stop, **kwargs)  # type: ignore[misc]
        params["ls_provider"] = "specdec"
        return params

    def get_token_ids(self, text: str) -> list[int]:
        with translated():
            return list(self._engine({}).tokenize(text)) if text else []

    def _engine(self, options: Mapping[str, Any]) -> Engine:
        """The engine for a call with these options."""
        model, draft = options.get("model"), options.get("draft")
        with translated():
            return self.engine if self.engine and not model else engines.get(self._load_options(model, draft))

    async def _aengine(self, options: Mapping[str, Any]) -> Engine:
        """The same, without blocking the loop while it loads."""
        model, draft = options.get("model"), options.get("draft")
        with translated():
            return self.engine if self.engine and not model else await engines.aget(self._load_options(model, draft))

    def _request(self, prompt: str | Iterable[Any], stop: list[str] | None, options: Mapping[str, Any]) -> Request:
        """A call's options go before our own."""
        given = {k: v for k, v in options.items() if k not in _NO_OPTIONS}
        merged = {k: v for k, v in (self._request_options() | given).items() if v is not None}
        if stop is not None:
            merged["stop"] = stop
        top = options.get("top_logprobs", self.top_logprobs)
        merged["logprobs"] = (top or 0) if merged.get("logprobs") or top is not None else None
        with translated():
            if form := _grammar(options.get("response_format")):
                merged["grammar"] = form
            return Request.of(prompt, **merged)


def _grammar(response_format: Any) -> Grammar | None:
    """Of OpenAI's response_format."""
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
