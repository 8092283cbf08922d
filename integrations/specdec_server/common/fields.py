"""The fields that requests to several endpoints share, and the SamplingParams they come to."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from specdec.errors import InvalidRequest
from specdec.types import MAX_SEED, Grammar, SamplingParams, Speculative
from specdec_server.common.base import Received

MAX_STOPS = 16
MAX_TOOLS = 128
MAX_BIASES = 1024

Stop = Annotated[str, Field(max_length=1000)]
Count = Annotated[int, Field(ge=1, le=2**31)]
Whole = Annotated[int, Field(ge=0, le=2**31)]
Model = Annotated[str, Field(max_length=1000)]


_UNREADABLE = {
    "image_url": "images",
    "input_image": "images",
    "input_audio": "audio files",
    "video_url": "videos",
    "file": "files",
    "input_file": "files",
}
"""Types of parts as clients send them to models that read more than text."""


class Part(Received):
    """Of a message's content: text, which is all that a model reads here."""

    type: str
    text: str

    @field_validator("type", mode="before")
    @classmethod
    def _is_text(cls, value: Any) -> Any:
        if isinstance(value, str) and value in _UNREADABLE:
            message = "{what} are not supported; expected a part of type text"
            raise PydanticCustomError("unsupported_part", message, {"what": _UNREADABLE[value]})
        return value


def text_of(content: str | Sequence[Part]) -> str:
    """Parts are texts of their own, as chat templates and other servers have them: each begins a line."""
    return content if isinstance(content, str) else "\n".join(part.text for part in content)


class StreamOptions(Received):
    include_usage: bool = False
    include_obfuscation: bool | None = None
    """Accepted: there is nothing to hide from others on loopback."""


class StructuredOutputs(Received):
    """vLLM's name for grammars beyond JSON; one of them."""

    json_: dict[str, Any] | str | None = Field(None, alias="json")
    json_object: Literal[True] | None = None
    regex: str | None = None
    choice: list[str] | None = None
    grammar: str | None = None
    """Lark, its start rule named `start`."""

    def to_grammar(self) -> Grammar:
        given = self.model_dump(exclude_none=True, by_alias=True)
        if len(given) != 1:
            expected = "exactly one of json, json_object, regex, choice and grammar"
            raise InvalidRequest("structured_outputs", len(given), expected)
        kind, value = next(iter(given.items()))
        if kind == "json_object":
            return Grammar.json_object()
        makers: dict[str, Callable[[Any], Grammar]] = {
            "json": Grammar.json_schema,
            "regex": Grammar.regex,
            "choice": Grammar.choice,
            "grammar": Grammar.lark,
        }
        return makers[kind](value)


class Sampling(Received):
    """What requests for chat completions, completions and responses share: OpenAI's parameters and our engine's."""

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, value: Any) -> Any:
        """An object of JSON may hold what is no text (unpaired surrogates) or no number (NaN), anywhere."""
        if not isinstance(value, dict):
            return value  # which is refused as that
        try:
            json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
        except (ValueError, RecursionError):  # UnicodeEncodeError is a ValueError
            raise ValueError("the JSON has NaN, unpaired surrogates or hundreds of levels") from None
        return value

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
    structured_outputs: StructuredOutputs | None = None
    user: str | None = None
    """Whose turn it is among those who wait."""
    safety_identifier: str | None = None
    """OpenAI's newer name for the user."""
    prompt_cache_key: str | None = None
    """Accepted: prefixes are cached anyway."""

    @property
    def client(self) -> str:
        return self.user or self.safety_identifier or ""

    def speculation(self) -> Speculative:
        return "auto" if self.speculative is None else self.speculative

    def params(
        self, max_tokens: int | None, logprobs: int | None, grammar: Grammar | None, choice: int
    ) -> SamplingParams:
        """Of one of several choices: each draws with a seed of its own."""
        if grammar and self.structured_outputs:
            raise InvalidRequest("structured_outputs", None, "none beside response_format")
        if self.structured_outputs:
            grammar = self.structured_outputs.to_grammar()
        seed = None if self.seed is None else (self.seed + choice) & MAX_SEED  # OpenAI's may be negative
        return SamplingParams(
            temperature=self.temperature, top_k=self.top_k, top_p=self.top_p, min_p=self.min_p,
            repetition_penalty=self.repetition_penalty, presence_penalty=self.presence_penalty or 0.0,
            frequency_penalty=self.frequency_penalty or 0.0, logit_bias=self._biases(), max_tokens=max_tokens,
            min_tokens=self.min_tokens or 0, stop=self._stops(), stop_token_ids=tuple(self.stop_token_ids or ()),
            ignore_eos=bool(self.ignore_eos), seed=seed, logprobs=logprobs, grammar=grammar,
        )  # fmt: skip

    def _stops(self) -> tuple[str, ...]:
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())

    def _biases(self) -> dict[int, float]:
        biases = self.logit_bias or {}
        if not all(token.isascii() and token.isdigit() and len(token) <= 9 for token in biases):
            raise InvalidRequest("logit_bias", None, "token ids as keys")
        return {int(token): bias for token, bias in biases.items()}
