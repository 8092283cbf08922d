"""The plain values that cross every boundary of specdec.

All are immutable, picklable and free of torch. A `Request` goes in, `GenerationEvent`s come out, a `Completion`
is their sum. Invalid values are refused here, by field name, before any work is done; what only the engine can
know (vocabulary, context) it checks on admission.
"""

from __future__ import annotations

import builtins
import json
import math
import re
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import zip_longest
from typing import Any, Literal, get_args

from specdec.errors import InvalidRequest

Role = Literal["system", "user", "assistant", "tool"]
FinishReason = Literal["stop", "length", "cancelled"]
Origin = Literal["accepted", "recovered", "bonus", "plain", "unknown"]
"""Where a token came from: an accepted draft; the target's own token after a rejected draft; the target's own
token after a fully accepted draft; the target's own token in a round without drafts; a server that does not say."""
Speculative = Literal["auto", "off"] | int

MAX_SPECULATIVE_TOKENS = 16
MAX_LOGPROBS = 20
MAX_SEED = 2**63 - 1
MAX_GRAMMAR = 128 * 1024
"""Characters of one grammar."""
MAX_GRAMMAR_DEPTH = 100
"""How deep a JSON schema may nest."""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that the assistant made; `arguments` is JSON text, as on the wire."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a chat."""

    role: Role
    content: str | None = None
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    reasoning: str | None = None
    """What an assistant thought before its content, without the template's marks."""

    def __post_init__(self) -> None:
        if self.role not in get_args(Role):
            raise InvalidRequest("messages.role", self.role, "one of " + ", ".join(get_args(Role)))
        calls_only = self.content is None and self.role == "assistant" and self.tool_calls
        if not isinstance(self.content, str) and not calls_only:
            raise InvalidRequest(
                "messages.content", self.content, "text (an assistant's tool calls may do without)"
            )

    @classmethod
    def of(cls, value: Message | Mapping[str, Any]) -> Message:
        """A message from itself or from an OpenAI-style dict."""
        if isinstance(value, Message):
            return value
        if not isinstance(value, Mapping) or "role" not in value:
            raise InvalidRequest("messages", value, "a Message or a dict with role and content")
        unknown = {k: v for k, v in value.items() if v and k not in {f.name for f in fields(cls)}}
        if unknown:
            expected = "role, content, name, tool_calls, tool_call_id and reasoning"
            raise InvalidRequest("messages", unknown, expected)
        calls = tuple(_tool_call(c) for c in value.get("tool_calls") or ())
        rest = {name: value.get(name) for name in ("content", "name", "tool_call_id", "reasoning")}
        return cls(value["role"], tool_calls=calls, **rest)


def _tool_call(value: ToolCall | Mapping[str, Any]) -> ToolCall:
    if isinstance(value, ToolCall):
        return value
    function = value.get("function", value) if isinstance(value, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise InvalidRequest(
            "messages.tool_calls", value, "calls with an id and a function of name and arguments"
        )
    arguments = function.get("arguments", {})
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return ToolCall(str(value.get("id", "")), function["name"], text)


def _check_answers(messages: Sequence[Message]) -> None:
    """Tool messages answer calls of the last assistant's turn before them."""
    calls: tuple[ToolCall, ...] = ()
    for before, message in zip((None, *messages), messages, strict=False):
        if message.role != "tool":
            continue
        if before is not None and before.role != "tool":
            calls = before.tool_calls
        if before is None or not calls:
            raise InvalidRequest(
                "messages", message, "a tool message behind the assistant's call that it answers"
            )
        known = {call.id for call in calls if call.id}
        if known and message.tool_call_id and message.tool_call_id not in known:
            expected = "the id of a call in the assistant's message before it: " + ", ".join(sorted(known))
            raise InvalidRequest("messages.tool_call_id", message.tool_call_id, expected)


Prompt = str | tuple[Message, ...] | tuple[int, ...]
"""Raw text, a chat, or token ids."""


def _number(
    name: str, value: object, low: float, high: float, expected: str, *, open_low: bool = False
) -> None:
    # comparing is safe where converting is not: nan is in no range, and an int may be too large for a float
    ok = isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high
    if not ok or (open_low and value == low):
        raise InvalidRequest(name, value, expected)


def _integer(name: str, value: object, low: int, high: int | None, expected: str) -> None:
    if (
        not isinstance(value, int)
        or isinstance(value, bool)
        or value < low
        or (high is not None and value > high)
    ):
        raise InvalidRequest(name, value, expected)


GrammarKind = Literal["json_schema", "json_object", "regex", "lark", "choice"]


@dataclass(frozen=True, slots=True)
class Grammar:
    """What an answer must look like, from its first token to its last. JSON comes out compact: on one line, with
    a space behind commas and colons, as models are used to from chat templates, and no other whitespace.

    `kind` and its `text`: json_schema (a JSON schema), json_object (none: any JSON object), regex (matched as a whole),
    lark (a Lark grammar as llguidance reads it), choice (a JSON list of texts, one of which is the answer).
    The answer ends where the grammar is complete and cannot go on; where it may end or go on, the target decides, by
    eos. An answer that reaches max_tokens before is cut, and then does not match.
    """

    kind: GrammarKind
    text: str = ""
    strict: bool = False
    """Of a JSON schema: with a part that cannot be enforced it is refused. Else the other parts hold, and the log says
    which do not."""

    def __post_init__(self) -> None:
        if self.kind not in get_args(GrammarKind):
            raise InvalidRequest("grammar.kind", self.kind, "one of " + ", ".join(get_args(GrammarKind)))
        if not isinstance(self.strict, bool):
            raise InvalidRequest("grammar.strict", self.strict, "true or false")
        if not isinstance(self.text, str) or bool(self.text) == (self.kind == "json_object"):
            expected = "no text" if self.kind == "json_object" else f"the text of a {self.kind}"
            raise InvalidRequest("grammar.text", self.text, expected)
        if len(self.text) > MAX_GRAMMAR:
            raise InvalidRequest(
                "grammar.text", f"{len(self.text)} characters long", f"at most {MAX_GRAMMAR}"
            )
        if not self.text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in self.text):
            raise InvalidRequest("grammar.text", self.text, "text without unpaired surrogates")
        if self.kind == "json_schema":
            _check_schema(self.text)
        if self.kind == "choice":
            _check_choice(self.text)

    @classmethod
    def json_schema(cls, schema: Mapping[str, Any] | str, *, strict: bool = False) -> Grammar:
        """JSON that is valid by `schema`, whose keywords are all enforced or, unless `strict`, as many as can be."""
        text = schema if isinstance(schema, str) else _json_text("a JSON schema", schema)
        return cls("json_schema", text, strict)

    @classmethod
    def json_object(cls) -> Grammar:
        """Any JSON object."""
        return cls("json_object")

    @classmethod
    def regex(cls, pattern: str) -> Grammar:
        """Text that `pattern` matches as a whole (Rust's syntax: \\d and \\w are Unicode's, and there is no
        look-around and no back-reference)."""
        return cls("regex", pattern)

    @classmethod
    def lark(cls, text: str) -> Grammar:
        """Text of the rule `start`."""
        return cls("lark", text)

    @classmethod
    def choice(cls, options: Iterable[str]) -> Grammar:
        """One of the options, literally."""
        several = isinstance(options, Iterable) and not isinstance(options, str)
        return cls("choice", _json_text("a list of texts", list(options) if several else options))


def _json_text(expected: str, value: object) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequest(
            "grammar.text", value, f"{expected} that can be written as JSON ({error})"
        ) from error


def _parsed(expected: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest("grammar.text", text, f"{expected} as JSON ({error})") from error


def _check_schema(text: str) -> None:
    schema = _parsed("a JSON schema", text)
    if not isinstance(schema, dict | bool):
        raise InvalidRequest("grammar.text", text, "a JSON schema, which is an object")
    level: list[Any] = [schema]
    for _ in range(MAX_GRAMMAR_DEPTH):
        inner = (v.values() if isinstance(v, dict) else v for v in level if isinstance(v, dict | list))
        level = [value for values in inner for value in values]
    if level:
        raise InvalidRequest("grammar.text", text, f"a JSON schema nested at most {MAX_GRAMMAR_DEPTH} deep")


def _check_choice(text: str) -> None:
    options = _parsed("a list of texts", text)
    if not isinstance(options, list) or not options or not all(isinstance(o, str) and o for o in options):
        raise InvalidRequest("grammar.text", text, "a list of texts, at least one, none of them empty")


def _freeze(owner: object, name: str, kind: Callable[[Any], object], expected: str) -> None:
    """Take a copy of a field's collection, so that the caller's later changes do not reach it; None is empty."""
    value = getattr(owner, name)
    try:
        object.__setattr__(owner, name, kind(() if value is None else value))
    except (TypeError, ValueError):
        raise InvalidRequest(name, value, expected) from None


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
        self._freeze()
        self._check_shaping()
        self._check_ending()

    def _freeze(self) -> None:
        if isinstance(self.stop, str):
            object.__setattr__(self, "stop", (self.stop,))
        _freeze(self, "stop", tuple, "a text or a list of texts")
        _freeze(self, "stop_token_ids", tuple, "a list of token ids")
        _freeze(self, "logit_bias", dict, "a mapping of token ids to numbers")

    def _check_shaping(self) -> None:
        if self.temperature is not None:
            _number("temperature", self.temperature, 0, 100, "a number from 0 to 100")
        if self.top_k is not None:
            _integer("top_k", self.top_k, 0, None, "a whole number, 0 (off) or more")
        if self.top_p is not None:
            _number("top_p", self.top_p, 0, 1, "a number above 0, up to 1", open_low=True)
        if self.min_p is not None:
            _number("min_p", self.min_p, 0, 1, "a number from 0 to 1")
        if self.repetition_penalty is not None:
            _number(
                "repetition_penalty",
                self.repetition_penalty,
                0,
                100,
                "a number above 0, up to 100",
                open_low=True,
            )
        for name in ("presence_penalty", "frequency_penalty"):
            _number(name, getattr(self, name), -2, 2, "a number from -2 to 2")
        for token, bias in self.logit_bias.items():
            _integer("logit_bias", token, 0, None, "token ids, 0 or more")
            _number(f"logit_bias[{token}]", bias, -100, 100, "a number from -100 to 100")

    def _check_ending(self) -> None:
        if self.max_tokens is not None:
            _integer("max_tokens", self.max_tokens, 1, None, "a whole number, 1 or more")
        _integer("min_tokens", self.min_tokens, 0, self.max_tokens, "a whole number from 0 to max_tokens")
        for text in self.stop:
            if not isinstance(text, str) or not text:
                raise InvalidRequest("stop", text, "texts that are not empty")
        for token in self.stop_token_ids:
            _integer("stop_token_ids", token, 0, None, "token ids, 0 or more")
        if self.seed is not None:
            _integer("seed", self.seed, 0, MAX_SEED, f"a whole number from 0 to {MAX_SEED}")
        if self.logprobs is not None:
            _integer("logprobs", self.logprobs, 0, MAX_LOGPROBS, f"a whole number from 0 to {MAX_LOGPROBS}")
        if self.grammar is not None and not isinstance(self.grammar, Grammar):
            raise InvalidRequest("grammar", self.grammar, "a Grammar")

    def with_defaults(self, defaults: Mapping[str, float]) -> SamplingParams:
        """Fill every field that is None from `defaults`, then with its neutral value (seed, max_tokens and
        logprobs stay as they are)."""
        neutral: dict[str, float] = {
            "temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0
        }  # fmt: skip
        wanted = {k: defaults.get(k, v) for k, v in neutral.items() if getattr(self, k) is None}
        return replace(self, **wanted)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt to answer.

    `speculative`: "auto" picks the number of drafted tokens by measured tokens/s, 0 included; "off" never
    drafts; a number drafts that many every round. `prediction` is the caller's guess of the answer.
    `tools` are JSON schemas in OpenAI's form, handed to the chat template. `tool_choice`: "auto" lets the model answer
    in text or with calls, "none" in text alone (the template is not given the tools), "required" with calls alone, the
    name of a tool with a call of that tool. Calls always follow their tool's schema; more than one only with
    `parallel_tool_calls`. A function that is `strict` has a schema that is (see `Grammar`). Beside tools
    `sampling.grammar` is the form of an answer in text.
    Of those who wait, higher `priority` goes first, and clients (by `client`, any name) take turns. An answer that is
    not finished `timeout` seconds after it was asked for ends with DeadlineExceeded.
    """

    prompt: Prompt
    sampling: SamplingParams = field(default_factory=SamplingParams)
    speculative: Speculative = "auto"
    prediction: str | None = None
    tools: tuple[Mapping[str, Any], ...] = ()
    tool_choice: str = "auto"
    parallel_tool_calls: bool = True
    priority: int = 0
    client: str = ""
    timeout: float | None = None
    progress: bool = False
    """Events of a long prefill, too, which have nothing but `prefilled`."""
    remember: bool = True
    """False: neither draft from recent answers nor leave one."""
    id: str = field(default_factory=lambda: uuid.uuid4().hex)

    def __post_init__(self) -> None:
        object.__setattr__(self, "prompt", _prompt(self.prompt))
        if len(self.prompt) == 0:
            raise InvalidRequest("prompt", self.prompt, "at least one character, message or token")
        if self.speculative not in ("auto", "off"):
            bound = MAX_SPECULATIVE_TOKENS
            _integer(
                "speculative", self.speculative, 0, bound, f"auto, off or a whole number from 0 to {bound}"
            )
        if self.prediction is not None and not isinstance(self.prediction, str):
            raise InvalidRequest("prediction", self.prediction, "text")
        self._check_turn()
        _check_answers([m for m in self.prompt if isinstance(m, Message)])
        _freeze(self, "tools", tuple, "a list of JSON schemas")
        names = [_tool_name(i, tool) for i, tool in enumerate(self.tools)]
        self._check_tools(names)

    def _check_turn(self) -> None:
        _integer("priority", self.priority, -100, 100, "a whole number from -100 to 100")
        if not isinstance(self.client, str):
            raise InvalidRequest("client", self.client, "a name")
        if self.timeout is not None:
            _number("timeout", self.timeout, 0, 1e9, "seconds, more than 0", open_low=True)

    def _check_tools(self, names: Sequence[str]) -> None:
        if repeated := [name for name in names if names.count(name) > 1]:
            raise InvalidRequest("tools", repeated[0], "tools of different names")
        if names and not isinstance(self.prompt[0], Message):
            raise InvalidRequest("tools", names, "none beside a prompt that is not a chat")
        if self.tool_choice not in ("auto", "none", "required", *names):
            expected = "auto, none, required or the name of a tool"
            raise InvalidRequest(
                "tool_choice", self.tool_choice, f"{expected} ({', '.join(names) or 'no tools'})"
            )
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
    return tuple(Message.of(i) for i in items)


def token_text(raw: bytes) -> str:
    """A token by itself, for display: bytes that are no text as OpenAI writes them, \\xf0\\x9f."""
    return raw.decode(errors="backslashreplace")


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """One of the most likely tokens at a position, by itself: of bytes that are no text, `text` says the numbers."""

    id: int
    text: str
    logprob: float
    bytes: builtins.bytes
    """Which may be a part of a character."""


@dataclass(frozen=True, slots=True)
class Token:
    """One token of an answer. `text` is what it added to the shown text."""

    id: int
    text: str
    origin: Origin
    logprob: float | None = None
    top_logprobs: tuple[TokenLogprob, ...] = ()
    bytes: builtins.bytes | None = None
    """Its own, where logprobs were asked for."""

    @property
    def own(self) -> TokenLogprob:
        """The token by itself, as `top_logprobs` tells of others; `text` waits for characters to be whole."""
        raw = self.text.encode() if self.bytes is None else self.bytes
        logprob = -math.inf if self.logprob is None else self.logprob
        return TokenLogprob(self.id, token_text(raw), logprob, raw)


@dataclass(frozen=True, slots=True)
class Round:
    """One verify round of one sequence: what was drafted, by whom, and how long it took (seconds)."""

    drafter: str | None
    drafted: tuple[int, ...]
    accepted: int
    draft_seconds: float
    verify_seconds: float
    shared_by: int = 1
    """How many sequences shared the round."""
    rejected: tuple[str, ...] = ()
    """The texts of the drafts after the accepted ones, each by itself, for display. Empty where nobody knows them."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of one request; `cached_tokens` of the prompt were not computed again."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds, from when the engine received the request."""

    queued: float
    ttft: float
    total: float

    def tokens_per_second(self, completion_tokens: int) -> float:
        """Decode speed, 1 / TPOT: the tokens after the first over the time after the first."""
        seconds = self.total - self.ttft
        return (completion_tokens - 1) / seconds if completion_tokens > 1 and seconds > 0 else 0.0


@dataclass(frozen=True, slots=True)
class DrafterStats:
    """One drafter's share of an answer: how often each position was drafted, accepted, and tested."""

    drafter: str
    drafted: tuple[int, ...] = ()
    accepted: tuple[int, ...] = ()
    tested: tuple[int, ...] = ()
    """How often a draft stood at the position and all before it were accepted: a draft behind a rejected one was never
    looked at, and says nothing about its position. Empty where only sums are known."""

    @classmethod
    def of(cls, round: Round) -> DrafterStats:
        """One round in which something was drafted."""
        positions = range(len(round.drafted))
        return cls(
            round.drafter or "",
            tuple(1 for _ in positions),
            tuple(int(i < round.accepted) for i in positions),
            tuple(int(i <= round.accepted) for i in positions),  # the first rejected one was looked at too
        )

    def __add__(self, other: DrafterStats) -> DrafterStats:
        """Both together, position by position."""
        return DrafterStats(
            self.drafter,
            _added(self.drafted, other.drafted),
            _added(self.accepted, other.accepted),
            _added(self.tested, other.tested),
        )


def _added(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(m + n for m, n in zip_longest(a, b, fillvalue=0))


Why = Literal[
    "starting", "requested", "unavailable", "nothing to draft from", "does not pay", "pays", "unknown"
]


@dataclass(frozen=True, slots=True)
class Speculation:
    """What was decided about drafting: whether it is on, and why."""

    on: bool = False
    why: Why = "starting"
    drafters: tuple[str, ...] = ()
    length: int = 0
    """Drafts of a round, at most."""
    plain_rate: float | None = None
    """Tokens per second that are expected without drafts."""
    rate: float | None = None
    """The same with the best drafts there are."""
    detail: str | None = None
    """More of why, where an engine cannot speculate at all, or does not say."""

    def __str__(self) -> str:
        """For people; nothing may read it back."""
        rates = "" if self.rate is None else f": {self.plain_rate:.0f} -> {self.rate:.0f} tok/s"
        if self.on:
            return f"on: {' and '.join(self.drafters)}, {self.length} a round{rates}"
        return f"off: {self.reason}{rates}"

    @property
    def reason(self) -> str:
        """Why it is off, for people."""
        known = _REASONS[self.why]
        return f"{known}: {self.detail}" if self.detail and self.why == "unknown" else self.detail or known


_REASONS: dict[Why, str] = {
    "starting": "no round yet",
    "requested": "as the request asked",
    "unavailable": "this engine cannot speculate",
    "nothing to draft from": "nothing to draft from",
    "does not pay": "drafting costs more than it saves",
    "pays": "",
    "unknown": "unknown",
}


@dataclass(frozen=True, slots=True)
class Decision:
    """From one round of an answer on: who drafted how many tokens, and why."""

    round: int
    """The first is 1."""
    seconds: float
    """After the answer's first token."""
    drafter: str | None
    length: int
    speculation: Speculation
    """What had been decided; a drafter is tried again now and then although it is off."""


@dataclass(frozen=True, slots=True)
class SpecStats:
    """What speculation did for one answer."""

    rounds: int
    drafters: tuple[DrafterStats, ...] = ()
    speculation: Speculation = Speculation()
    """What was decided last."""
    decisions: tuple[Decision, ...] = ()
    """The latest, oldest first; one for each change."""
    warning: str | None = None
    """Set when the draft model's tokens have been rejected for long."""

    @property
    def off_reason(self) -> str | None:
        """Why the answer ended with speculation off, for people; None where it was on, or no round was planned."""
        return None if self.speculation.on or self.speculation.why == "starting" else self.speculation.reason

    @property
    def drafted(self) -> int:
        return sum(sum(d.drafted) for d in self.drafters)

    @property
    def accepted(self) -> int:
        return sum(sum(d.accepted) for d in self.drafters)

    @property
    def acceptance_rate(self) -> float:
        """accepted / drafted; 0 when nothing was drafted."""
        return self.accepted / self.drafted if self.drafted else 0.0

    @property
    def acceptance_length(self) -> float:
        """1 + accepted / rounds: tokens per pass of the target."""
        return 1 + self.accepted / self.rounds if self.rounds else 1.0

    @property
    def acceptance_per_position(self) -> tuple[float, ...]:
        """For each position that was tested: the share of drafts accepted, given that all before them were."""
        known = sum((d for d in self.drafters if d.tested), DrafterStats("all"))
        return tuple(a / n for a, n in zip(known.accepted, known.tested, strict=True) if n)

    @classmethod
    def of_all(cls, several: Iterable[SpecStats]) -> SpecStats:
        """The sum over several answers, with one entry a drafter."""
        several = list(several)
        drafters: dict[str, DrafterStats] = {}
        for d in (d for s in several for d in s.drafters):
            drafters[d.drafter] = drafters.get(d.drafter, DrafterStats(d.drafter)) + d
        off = next((s.speculation for s in several if s.off_reason), Speculation(on=True, why="pays"))
        return cls(sum(s.rounds for s in several), tuple(drafters.values()), off)


@dataclass(frozen=True, slots=True)
class ContentDelta:
    """Text that is the answer itself."""

    text: str


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """Text that the model thinks before its answer, without the template's marks."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A part of the `index`-th call. The first of each call has its `id` and `name`; `arguments` join to JSON text."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""


Delta = ContentDelta | ReasoningDelta | ToolCallDelta


@dataclass(frozen=True, slots=True)
class GenerationEvent:
    """What one round added to an answer.

    `"".join(e.text)` over the events is the answer's text, and so is the join of the tokens' texts. Text that
    may still turn into a stop string is held back, and its tokens with it. The last event, and only the last,
    has `finish_reason`, `usage`, `timing`, `stats` and `seed`.
    """

    request_id: str
    text: str = ""
    tokens: tuple[Token, ...] = ()
    round: Round | None = None
    """None for the token that comes out of prefill and for the last flush."""
    finish_reason: FinishReason | None = None
    stop: str | int | None = None
    """The stop string or token id that ended the answer."""
    usage: Usage | None = None
    timing: Timing | None = None
    stats: SpecStats | None = None
    seed: int | None = None
    deltas: tuple[Delta, ...] = ()
    """The same text as a chat's client reads it: content, reasoning and tool calls, the template's marks taken out. May
    lag behind `text` while a mark is incomplete."""
    prefilled: float | None = None
    """How much of the prompt is computed, 0 to 1; only in an event of its own, and only if the request asked."""


@dataclass(frozen=True, slots=True)
class Completion:
    """A whole answer."""

    request_id: str
    text: str
    tokens: tuple[Token, ...]
    finish_reason: FinishReason
    usage: Usage
    timing: Timing
    stats: SpecStats
    seed: int
    stop: str | int | None = None
    message: Message = field(default_factory=lambda: Message("assistant", ""))
    """The answer as a turn of the chat: content, reasoning and tool calls, the template's marks taken out."""

    @property
    def token_ids(self) -> tuple[int, ...]:
        return tuple(t.id for t in self.tokens)

    @property
    def tokens_per_second(self) -> float:
        return self.timing.tokens_per_second(self.usage.completion_tokens)

    @classmethod
    def of(cls, events: Sequence[GenerationEvent]) -> Completion:
        """The sum of a finished stream's events."""
        last = events[-1]
        assert last.finish_reason and last.usage and last.timing and last.stats and last.seed is not None
        return cls(
            last.request_id, "".join(e.text for e in events), tuple(t for e in events for t in e.tokens),
            last.finish_reason, last.usage, last.timing, last.stats, last.seed, last.stop,
            joined(d for e in events for d in e.deltas),
        )  # fmt: skip


def joined(deltas: Iterable[Delta]) -> Message:
    """The assistant's message that deltas add up to."""
    content, reasoning, calls = "", "", dict[int, ToolCall]()
    for delta in deltas:
        if isinstance(delta, ContentDelta):
            content += delta.text
        elif isinstance(delta, ReasoningDelta):
            reasoning += delta.text
        else:
            call = calls.get(delta.index, ToolCall("", "", ""))
            calls[delta.index] = ToolCall(
                delta.id or call.id, delta.name or call.name, call.arguments + delta.arguments
            )
    text = content if content or not calls else None
    return Message("assistant", text, tool_calls=tuple(calls.values()), reasoning=reasoning or None)


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What an engine is made of; constant over its life."""

    target: str
    draft: str | None
    architecture: str
    runner: str
    """"llama" or "hf", and how it runs, e.g. "llama (eager)"."""
    device: str
    dtype: str
    context: int
    vocab_size: int
    slots: int
    drafters: tuple[str, ...]
    accept_rule: str
    chat_template: bool
    parameters: int
    draft_parameters: int
    weight_bytes: int
    cache_bytes: int
    speculation_unavailable: str | None = None
    """Why this engine can never speculate, or None."""
    tool_format: str | None = None
    """How the model writes tool calls: "hermes", "llama3" or "mistral"; "server" where a server reads them; None where
    it takes no tools."""
    reasoning: bool = False
    """Whether the chat template knows of reasoning."""


@dataclass(frozen=True, slots=True)
class Queued:
    """A request that waits for a slot."""

    request_id: str
    position: int
    """1 is served next."""
    seconds: float
    """How long it has waited."""
    priority: int
    client: str


@dataclass(frozen=True, slots=True)
class EngineStats:
    """A snapshot of an engine at work."""

    active: int = 0
    queued: int = 0
    finished: int = 0
    cancelled: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    rounds: int = 0
    drafted: int = 0
    accepted: int = 0
    speculation: Speculation = Speculation()
    """What was decided last."""
    queue: tuple[Queued, ...] = ()
    """Who waits, in the order in which they would be served."""
    warning: str | None = None
    """As in SpecStats."""
    prefix_tokens: int = 0
    """Tokens whose keys and values are kept for requests that begin alike, beside what the slots hold."""
    graph_bytes: int = 0
    """Device memory that captured graphs take; they are made as they are needed, up to a number."""
    device_bytes: int | None = None
    """What the engine's process holds of its GPU's memory; None on a CPU."""
