"""What is asked of an engine: a prompt, and how it shall be answered."""

from __future__ import annotations

import json
import math
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, TypedDict, get_args

from specdec.errors import InvalidRequest
from specdec.types.chat import Message, check_answers
from specdec.types.grammar import Grammar
from specdec.types.validation import NUMBER, WHOLE, Bounds, check, freeze

Speculative = Literal["auto", "off"] | int

Effort = Literal["minimal", "low", "medium", "high", "xhigh", "max"]
Reasoning = Literal["auto", "off", "on"] | Effort

EFFORTS: tuple[Effort, ...] = get_args(Effort)
"""From little to much."""

MAX_SPECULATIVE_TOKENS = 16

MAX_LOGPROBS = 20

MAX_SEED = 2**63 - 1

Prompt = str | tuple[Message, ...] | tuple[int, ...]
"""Raw text, a chat, or token ids."""

_POSITIVE = math.nextafter(0, 1)
_OPTIONAL: Mapping[str, Bounds] = {
    "temperature": (NUMBER, 0, 100, "a number from 0 to 100"),
    "top_k": (WHOLE, 0, math.inf, "a whole number, 0 (off) or more"),
    "top_p": (NUMBER, _POSITIVE, 1, "a number above 0, up to 1"),
    "min_p": (NUMBER, 0, 1, "a number from 0 to 1"),
    "repetition_penalty": (NUMBER, _POSITIVE, 100, "a number above 0, up to 100"),
    "max_tokens": (WHOLE, 1, math.inf, "a whole number, 1 or more"),
    "seed": (WHOLE, 0, MAX_SEED, f"a whole number from 0 to {MAX_SEED}"),
    "logprobs": (WHOLE, 0, MAX_LOGPROBS, f"a whole number from 0 to {MAX_LOGPROBS}"),
}
"""Of the sampling parameters that may be None."""
_PENALTY: Bounds = (NUMBER, -2, 2, "a number from -2 to 2")
_TOKEN: Bounds = (WHOLE, 0, math.inf, "token ids, 0 or more")
_BIAS: Bounds = (NUMBER, -100, 100, "a number from -100 to 100")
_PRIORITY: Bounds = (WHOLE, -100, 100, "a whole number from -100 to 100")
_TIMEOUT: Bounds = (NUMBER, _POSITIVE, 1e9, "seconds, more than 0")
_THOUGHT: Bounds = (WHOLE, 1, math.inf, "a whole number, 1 or more")
_DRAFTS: Bounds = (WHOLE, 0, MAX_SPECULATIVE_TOKENS, f"auto, off or a whole number from 0 to {MAX_SPECULATIVE_TOKENS}")
_COLLECTIONS = {
    "stop": (tuple, "a text or a list of texts"),
    "stop_token_ids": (tuple, "a list of token ids"),
    "logit_bias": (dict, "a mapping of token ids to numbers"),
}
_TAKEN = ("messages", "tools", "chat_template", "add_generation_prompt", "continue_final_message")
"""No variables of a chat template, or such as other fields give."""
_NEUTRAL: Mapping[str, float] = {
    "temperature": 1.0,
    "top_k": 0,
    "top_p": 1.0,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
}


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How the target's next-token distribution is shaped, and when the answer ends.

    `None` for temperature, top_k, top_p, min_p and repetition_penalty means: the checkpoint's own
    generation_config, else the neutral value. Order of application: grammar, logit_bias, min_tokens, penalties,
    temperature, top_k, top_p, min_p. Logprobs are of the target's raw distribution, before all of these.
    Where min_tokens would leave nothing that the grammar allows, the grammar wins; a complete one ends the answer.
    """

    temperature: float | None = None
    """0 = greedy; up to 100."""
    top_k: int | None = None
    """0 = off."""
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    """Over prompt and output, 1 = off."""
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    max_tokens: int | None = None
    """None: as many as the context allows."""
    min_tokens: int = 0
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    seed: int | None = None
    """None: a fresh one, reported in the completion."""
    logprobs: int | None = None
    """None: no logprobs; n: the token's own and the n most likely."""
    grammar: Grammar | None = None
    """What the answer must look like."""

    def __post_init__(self) -> None:
        if isinstance(self.stop, str):
            object.__setattr__(self, "stop", (self.stop,))
        freeze(self, _COLLECTIONS)
        given = [(name, getattr(self, name), bounds) for name, bounds in _OPTIONAL.items()]
        most = self.max_tokens if isinstance(self.max_tokens, int) else math.inf
        numbers: list[tuple[str, Any, Bounds]] = [
            *(number for number in given if number[1] is not None),
            ("presence_penalty", self.presence_penalty, _PENALTY),
            ("frequency_penalty", self.frequency_penalty, _PENALTY),
            ("min_tokens", self.min_tokens, (WHOLE, 0, most, "a whole number from 0 to max_tokens")),
            *(("stop_token_ids", token, _TOKEN) for token in self.stop_token_ids),
            *(("logit_bias", token, _TOKEN) for token in self.logit_bias),
            *((f"logit_bias[{token}]", bias, _BIAS) for token, bias in self.logit_bias.items()),
        ]
        check(numbers)
        for text in self.stop:
            if not isinstance(text, str) or not text:
                raise InvalidRequest("stop", text, "texts that are not empty")
        if self.grammar is not None and not isinstance(self.grammar, Grammar):
            raise InvalidRequest("grammar", self.grammar, "a Grammar")

    def with_defaults(self, defaults: Mapping[str, float]) -> SamplingParams:
        """Fill every field that is None from `defaults`, then with its neutral value (seed, max_tokens and
        logprobs stay as they are)."""
        filled, wanted = copy(self), {k: defaults.get(k, v) for k, v in _NEUTRAL.items() if getattr(self, k) is None}
        check((name, value, _OPTIONAL[name]) for name, value in wanted.items())  # all else was checked
        for name, value in wanted.items():
            object.__setattr__(filled, name, value)
        return filled


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt to answer.

    `speculative`: "auto" picks the number of drafted tokens by measured tokens/s, 0 included; "off" never
    drafts; a number drafts that many every round. `prediction` is the caller's guess of the answer.
    `suffix` is the text that shall follow the answer: a model that was taught to fill in is asked for what stands
    between it and the prompt, which must be text.
    `tools` are JSON schemas in OpenAI's form, handed to the chat template. `tool_choice`: "auto" lets the model answer
    in text or with calls, "none" in text alone (the template is not given the tools), "required" with calls alone, the
    name of a tool with a call of that tool. Calls always follow their tool's schema; more than one only with
    `parallel_tool_calls`. A function that is `strict` has a schema that is (see `Grammar`). Beside tools
    `sampling.grammar` is the form of an answer in text.
    `reasoning` is whether the model shall think before it answers, and how much: "auto" leaves it to the chat template;
    "off" (or False), "on" (or True) or an effort is told to the template in its own words (of those it tells apart
    `EngineInfo.reasoning_levels`). A thought ends at `max_reasoning_tokens`. A form, and calls, come after the thought.
    `template` are variables of the chat template, such as enable_thinking, whose values are as JSON has them; they mean
    nothing to a template that does not read them, and to a prompt that is not a chat.
    Of those who wait, higher `priority` goes first, and clients (by `client`, any name) take turns. An answer that is
    not finished `timeout` seconds after it was asked for ends with DeadlineExceeded.
    """

    prompt: Prompt
    sampling: SamplingParams = field(default_factory=SamplingParams)
    speculative: Speculative = "auto"
    prediction: str | None = None
    suffix: str | None = None
    tools: tuple[Mapping[str, Any], ...] = ()
    tool_choice: str = "auto"
    parallel_tool_calls: bool = True
    reasoning: Reasoning = "auto"
    max_reasoning_tokens: int | None = None
    template: Mapping[str, Any] = field(default_factory=dict)
    priority: int = 0
    client: str = ""
    timeout: float | None = None
    progress: bool = False
    """Events of a long prefill or wait, too, which have nothing but `prefilled` or `waiting`."""
    remember: bool = True
    """False: neither draft from recent answers nor leave one."""
    id: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __post_init__(self) -> None:
        object.__setattr__(self, "prompt", _prompt(self.prompt))
        if len(self.prompt) == 0 and not self.suffix:
            raise InvalidRequest("prompt", self.prompt, "at least one character, message or token")
        numbers: list[tuple[str, Any, Bounds]] = [("priority", self.priority, _PRIORITY)]
        numbers += [] if self.speculative in ("auto", "off") else [("speculative", self.speculative, _DRAFTS)]
        numbers += [("max_reasoning_tokens", most, _THOUGHT)] if (most := self.max_reasoning_tokens) is not None else []
        numbers += [] if self.timeout is None else [("timeout", self.timeout, _TIMEOUT)]
        check(numbers)
        if isinstance(self.reasoning, bool):
            object.__setattr__(self, "reasoning", "on" if self.reasoning else "off")
        if self.reasoning not in ("auto", "off", "on", *EFFORTS):
            raise InvalidRequest("reasoning", self.reasoning, "auto, off, on or an effort: " + ", ".join(EFFORTS))
        for name, value in (("prediction", self.prediction), ("suffix", self.suffix)):
            if value is not None and not isinstance(value, str):
                raise InvalidRequest(name, value, "text")
        if self.suffix is not None and not isinstance(self.prompt, str):
            raise InvalidRequest("suffix", self.suffix, "None beside a prompt that is not text")
        if not isinstance(self.client, str):
            raise InvalidRequest("client", self.client, "a name")
        check_answers([m for m in self.prompt if isinstance(m, Message)])
        freeze(
            self,
            {
                "tools": (tuple, "a list of JSON schemas"),
                "template": (_template, "a mapping of names to values as JSON has them, without " + ", ".join(_TAKEN)),
            },
        )
        self._check_tools([_tool_name(i, tool) for i, tool in enumerate(self.tools)])

    def _check_tools(self, names: Sequence[str]) -> None:
        if repeated := [name for name in names if names.count(name) > 1]:
            raise InvalidRequest("tools", repeated[0], "tools of different names")
        if names and not isinstance(self.prompt[0], Message):
            raise InvalidRequest("tools", names, "none beside a prompt that is not a chat")
        if self.tool_choice not in ("auto", "none", "required", *names):
            expected = "auto, none, required or the name of a tool"
            raise InvalidRequest("tool_choice", self.tool_choice, f"{expected} ({', '.join(names) or 'no tools'})")
        if self.tool_choice == "required" and not names:
            raise InvalidRequest("tools", (), "at least one tool, since a call is required")
        if not isinstance(self.parallel_tool_calls, bool):
            raise InvalidRequest("parallel_tool_calls", self.parallel_tool_calls, "true or false")

    @classmethod
    def of(cls, prompt: Request | str | Iterable[Any], **options: Any) -> Request:
        """A request from a prompt in any accepted form; `options` are fields of Request and SamplingParams."""
        if isinstance(prompt, Request):
            if options:
                raise InvalidRequest("options", sorted(options), "none beside a finished Request")
            return prompt
        names = {f.name for f in fields(SamplingParams)}
        shaping = {k: options.pop(k) for k in list(options) if k in names}
        unknown = set(options) - {f.name for f in fields(cls)} | options.keys() & {"prompt"}
        if unknown:
            raise InvalidRequest("options", sorted(unknown), "fields of Request or SamplingParams")
        sampling = replace(options.pop("sampling", SamplingParams()), **shaping)
        return cls(_prompt(prompt), sampling, **options)


def _template(value: Any) -> dict[str, Any]:
    variables: dict[str, Any] = json.loads(json.dumps(dict(value), allow_nan=False))
    if taken := variables.keys() & _TAKEN:
        raise ValueError(taken)
    return variables


def _tool_name(index: int, tool: object) -> str:
    """The name of a tool in OpenAI's form, whose parameters are a JSON schema."""
    field, function = f"tools[{index}].function", tool.get("function") if isinstance(tool, Mapping) else None
    if not isinstance(function, Mapping):
        raise InvalidRequest(f"tools[{index}]", tool, "a tool in OpenAI's form: type and function")
    name, parameters = function.get("name"), function.get("parameters")
    if not isinstance(name, str) or not re.fullmatch(r"[\w.:/-]{1,128}", name):
        raise InvalidRequest(f"{field}.name", name, "a name of 1 to 128 letters, digits and _ - . : /")
    if not isinstance(function.get("strict"), bool | None):
        raise InvalidRequest(f"{field}.strict", function["strict"], "true or false")
    if parameters is not None:
        if not isinstance(parameters, Mapping) or parameters.get("type", "object") != "object":
            raise InvalidRequest(f"{field}.parameters", parameters, "a JSON schema of an object")
        try:
            Grammar.json_schema(parameters)
        except InvalidRequest as error:
            raise InvalidRequest(f"{field}.parameters", error.value, error.expected) from None
    return name


def _prompt(value: str | Iterable[Any]) -> Prompt:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes | Mapping) or not isinstance(value, Iterable):
        raise InvalidRequest("prompt", value, "text, a list of messages, or a list of token ids")
    items = list(value)
    if items and all(isinstance(i, int) and not isinstance(i, bool) for i in items):
        return tuple(items)
    return tuple(i if isinstance(i, Message) else Message.of(i) for i in items)


class RequestOptions(TypedDict, total=False):
    """The fields of SamplingParams and Request, as options of a call beside the prompt."""

    temperature: float | None
    top_k: int | None
    top_p: float | None
    min_p: float | None
    repetition_penalty: float | None
    presence_penalty: float
    frequency_penalty: float
    logit_bias: Mapping[int, float]
    max_tokens: int | None
    min_tokens: int
    stop: str | Sequence[str]
    stop_token_ids: Sequence[int]
    ignore_eos: bool
    seed: int | None
    logprobs: int | None
    grammar: Grammar | None
    sampling: SamplingParams
    speculative: Speculative
    prediction: str | None
    suffix: str | None
    tools: Sequence[Mapping[str, Any]]
    tool_choice: str
    parallel_tool_calls: bool
    reasoning: Reasoning | bool
    max_reasoning_tokens: int | None
    template: Mapping[str, Any]
    priority: int
    client: str
    timeout: float | None
    progress: bool
    remember: bool
    id: str
