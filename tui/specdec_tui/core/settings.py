"""What a chat asks its engine with: sampling, drafting, system prompt; set by name from text, and presets."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from specdec.errors import InvalidRequest
from specdec.types import Grammar, Message, Reasoning, Request, SamplingParams, Speculative

Values = Mapping[str, Any]

PRESETS: dict[str, Values] = {
    "default": {},
    "precise": {"temperature": 0.0},
    "balanced": {"temperature": 0.7, "top_p": 0.95},
    "creative": {"temperature": 1.0, "min_p": 0.05},
}
_UNSET = ("none", "default", "")
_UNSETTABLE = {"grammar"}  # set by /json and /schema, not by value


@dataclass(frozen=True, slots=True)
class ChatSettings:
    """Immutable; every change is checked by the values of specdec.types themselves."""

    sampling: SamplingParams = field(default_factory=SamplingParams)
    speculative: Speculative = "auto"
    reasoning: Reasoning = "auto"
    """Whether the model thinks before it answers, and how much."""
    system: str | None = None
    tools: tuple[Mapping[str, Any], ...] = ()

    def with_values(self, values: Values) -> ChatSettings:
        """Values by name, as they come from a preset, a saved chat or a config file, where token ids are text."""
        unknown = set(values) - set(NAMES)
        if unknown:
            raise InvalidRequest("setting", ", ".join(sorted(unknown)), "one of " + ", ".join(NAMES))
        own = {name: values[name] for name in _OF_REQUEST if name in values}
        shaping = {name: value for name, value in values.items() if name not in own}
        if isinstance(biases := shaping.get("logit_bias"), Mapping):
            shaping["logit_bias"] = {_number(int, "logit_bias", str(token)): bias for token, bias in biases.items()}
        changed = replace(self, sampling=replace(self.sampling, **shaping), **own)
        changed.request((Message("user", "?"),))  # Request checks what is not sampling
        return changed

    def with_text(self, name: str, text: str) -> ChatSettings:
        """One value as it was typed: `temperature`, `0.7`."""
        name = _ALIASES.get(name, name)
        if name not in NAMES:
            raise InvalidRequest("setting", name, "one of " + ", ".join(NAMES))
        default = _DEFAULTS[name]
        value = default if text.strip().lower() in _UNSET else _read(name, text.strip())
        return self.with_values({name: value})

    def value(self, name: str) -> Any:
        return getattr(self if name in _OF_REQUEST else self.sampling, name)

    def changed(self) -> dict[str, Any]:
        """What differs from the defaults, as a preset keeps it."""
        return {n: self.value(n) for n in NAMES if self.value(n) != _DEFAULTS[n]}

    def in_force(self, tools: int = 0) -> str:
        """What differs from the defaults, in a few words. `tools`: how many are offered beside these."""
        parts = ["system prompt"] if self.system else []
        if offered := len(self.tools) + tools:
            parts.append(f"{offered} tool{'' if offered == 1 else 's'}")
        parts += [self.sampling.grammar.kind.replace("_", " ")] if self.sampling.grammar else []
        return " · ".join([*parts, *(f"{name} {shown(value)}" for name, value in self.changed().items())])

    def preset(self, values: Values) -> ChatSettings:
        """All values from the preset; the system prompt and the tools stay."""
        return replace(self, sampling=SamplingParams(), **_OF_REQUEST).with_values(values)

    def request(self, messages: tuple[Message, ...], **changes: Any) -> Request:
        system = (Message("system", self.system),) if self.system else ()
        own = {name: getattr(self, name) for name in _OF_REQUEST}
        request = Request((*system, *messages), self.sampling, tools=self.tools, progress=True, **own)
        return replace(request, **changes) if changes else request

    def with_tools(self, text: str) -> ChatSettings:
        """Tools that a caller answers for: a JSON list in OpenAI's form."""
        try:
            tools = json.loads(text)
        except ValueError as error:
            raise InvalidRequest("tools", text, f"a JSON list of tools ({error})") from None
        if not isinstance(tools, list) or not all(isinstance(t, dict) for t in tools):
            raise InvalidRequest("tools", text, "a JSON list of tools in OpenAI's form")
        return replace(self, tools=tuple(tools))

    def with_grammar(self, grammar: Grammar | None) -> ChatSettings:
        return replace(self, sampling=replace(self.sampling, grammar=grammar))


def _read(name: str, text: str) -> Any:
    """A value as it is typed: ids and biases parted by spaces or commas, stop texts by `|` (`\\n` is a line end)."""
    parts = text.replace(",", " ").split()
    match name:
        case "speculative":
            return text if text in ("auto", "off") else _number(int, name, text, "auto, off or a whole number")
        case "reasoning":
            return text.lower()
        case "stop":
            return tuple(part.replace("\\n", "\n") for part in text.split("|") if part)
        case "stop_token_ids":
            return tuple(_number(int, name, part) for part in parts)
        case "logit_bias":
            pairs = [part.partition("=") for part in parts]
            return {_number(int, name, token): _number(float, name, bias, "a number") for token, _, bias in pairs}
        case "ignore_eos":
            if text.lower() not in ("on", "off", "true", "false"):
                raise InvalidRequest(name, text, "on or off")
            return text.lower() in ("on", "true")
        case "top_k" | "max_tokens" | "min_tokens" | "seed" | "logprobs":
            return _number(int, name, text)
        case _:
            return _number(float, name, text, "a number")


def _number(kind: type[int | float], name: str, text: str, expected: str = "a whole number") -> int | float:
    try:
        return kind(text)
    except ValueError:
        raise InvalidRequest(name, text, expected) from None


_OF_REQUEST: dict[str, Any] = {"speculative": "auto", "reasoning": "auto"}
"""What is no sampling parameter, and its default."""
_ALIASES = {"k": "speculative", "temp": "temperature", "max": "max_tokens"}
NAMES = (*(f.name for f in fields(SamplingParams) if f.name not in _UNSETTABLE), *_OF_REQUEST)
_DEFAULTS: dict[str, Any] = {n: _OF_REQUEST.get(n, getattr(SamplingParams(), n, None)) for n in NAMES}


def shown(value: object) -> str:
    """A value as it could be typed again."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, tuple):
        return "|".join(str(v).replace("\n", "\\n") for v in value)
    if isinstance(value, Mapping):
        return " ".join(f"{k}={v}" for k, v in value.items())
    return str(value)
