"""What each kind of server takes, and by which names: the only place that tells servers apart.

A parameter that is not in a dialect's table is refused by name, unless it has its neutral value: servers drop
unknown fields silently.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from specdec.types import MAX_SEED, Grammar, GrammarKind

Fields = dict[str, Any]
_ALIKE = ("temperature", "top_p", "presence_penalty", "frequency_penalty")
_VLLM = ("top_k", "min_p", "repetition_penalty", "min_tokens", "stop_token_ids", "ignore_eos")


def _same(*names: str) -> dict[str, str]:
    return {name: name for name in names}


def _format(grammar: Grammar, *, strict: bool = True) -> Fields:
    """`strict` as others than us read it is whether to enforce the schema at all."""
    schema = {"name": "answer", "schema": json.loads(grammar.text), "strict": strict}
    return {"response_format": {"type": "json_schema", "json_schema": schema}}


_OPENAI_GRAMMARS: dict[GrammarKind, Callable[[Grammar], Fields]] = {
    "json_schema": _format,
    "json_object": lambda _: {"response_format": {"type": "json_object"}},
}


@dataclass(frozen=True, slots=True)
class ServerDialect:
    """One kind of server."""

    name: str
    fields: Mapping[str, str]
    """Our parameter -> its field."""
    grammars: Mapping[GrammarKind, Callable[[Grammar], Fields]] = field(default_factory=lambda: _OPENAI_GRAMMARS)
    unset: Mapping[str, float] = field(default_factory=dict)
    """Sent where the caller sets nothing: a server that does not read the checkpoint's generation_config has
    defaults of its own, which are neither the checkpoint's nor neutral."""
    always: Mapping[str, Any] = field(default_factory=dict)
    switch: str | None = None
    """The field of `speculative`: speculation can be set per request."""
    remember: bool = False
    """It can be told to neither draft from recent answers nor leave one."""
    prediction: bool = False
    """Beside a chat."""
    raw_prediction: bool = False
    """Beside raw text."""
    suffix: bool = False
    """Whether it fills in with the tokenizer's own marks."""
    max_seed: int = MAX_SEED
    without_speculation: tuple[str, ...] = ()
    """Parameters that it takes only while it does not speculate."""
    template: bool = False
    """Whether chat_template_kwargs reach the chat template."""
    reasoning: bool = False
    """Whether it says reasoning to the template in the template's words, and bounds a thought."""
    takes_ids: bool = True
    """As a prompt."""
    recount: str | None = None
    """Where to have a text counted, for a server that streams neither token ids nor usage."""
    tells_ids: bool = False
    """Whether `/input_tokens` behind a path tells the ids of a prompt."""
    reports: bool = False
    """Whether its comments say what a request waits for."""
    metrics: bool = False
    """Whether /metrics says that it speculates."""
    advice: str = ""
    """How to make it tell what speculation did."""


_NEUTRAL = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0}

_ALL_GRAMMARS: dict[GrammarKind, Callable[[Grammar], Fields]] = {
    **_OPENAI_GRAMMARS,
    "regex": lambda grammar: {"structured_outputs": {"regex": grammar.text}},
    "lark": lambda grammar: {"structured_outputs": {"grammar": grammar.text}},
    "choice": lambda grammar: {"structured_outputs": {"choice": json.loads(grammar.text)}},
}

OURS = ServerDialect(
    "SpecDec",
    _same(*_ALIKE, *_VLLM),
    _ALL_GRAMMARS | {"json_schema": lambda grammar: _format(grammar, strict=grammar.strict)},
    always={"return_token_ids": True},
    template=True,
    reasoning=True,
    switch="speculative",
    remember=True,
    prediction=True,
    raw_prediction=True,
    suffix=True,
    tells_ids=True,
    reports=True,
)
VLLM = ServerDialect(
    "vLLM",
    _same(*_ALIKE, *_VLLM),
    _ALL_GRAMMARS,
    always={"return_token_ids": True},
    template=True,
    without_speculation=("min_p", "logit_bias"),
    metrics=True,
    advice="start it with --enable-per-request-metrics --per-request-spec-decode-metrics summary",
)
SGLANG = ServerDialect(
    "SGLang",
    _same(*_ALIKE, *_VLLM),
    _OPENAI_GRAMMARS | {"regex": lambda grammar: {"regex": grammar.text}},
    template=True,
)
LLAMA_CPP = ServerDialect(
    "llama.cpp",
    _same(*_ALIKE, "top_k", "min_p", "ignore_eos") | {"repetition_penalty": "repeat_penalty"},
    unset=_NEUTRAL,
    template=True,
    max_seed=2**32 - 2,  # its -1 asks for a random one
)
LLAMA_CPP_PYTHON = ServerDialect(
    "llama-cpp-python",
    _same(*_ALIKE, "top_k", "min_p", "min_tokens") | {"repetition_penalty": "repeat_penalty"},
    unset=_NEUTRAL,
    max_seed=2**32 - 2,
    takes_ids=False,
    recount="/extras/tokenize/count",
)
UNKNOWN = ServerDialect("an OpenAI-compatible server", _same(*_ALIKE), prediction=True)

_OWNERS = {"specdec": OURS, "vllm": VLLM, "sglang": SGLANG, "llamacpp": LLAMA_CPP, "me": LLAMA_CPP_PYTHON}


def of_owner(owner: str) -> ServerDialect:
    """The dialect of a server whose models are `owned_by` this."""
    return _OWNERS.get(owner, UNKNOWN)
