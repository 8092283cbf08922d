"""From a Request to a path and a JSON body in a server's dialect. What has no place there is refused by name."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

from specdec.errors import InvalidRequest
from specdec.remote.dialects import Fields
from specdec.remote.server import ServerInfo
from specdec.types import EFFORTS, Message, Request, SamplingParams

_NEUTRAL: dict[str, Any] = {
    "temperature": None,
    "top_k": 0,
    "top_p": 1.0,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "min_tokens": 0,
    "stop_token_ids": (),
    "ignore_eos": False,
}
_SEEDS = 2**31
"""Fresh seeds are below this: every server takes them."""


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """What is posted."""

    path: str
    body: Fields
    seed: int


def http_request(request: Request, server: ServerInfo) -> HttpRequest:
    """Raises InvalidRequest, which names the field and the server."""
    dialect, seed = server.dialect, request.sampling.seed
    if seed is None:
        seed = secrets.randbelow(_SEEDS)
    elif seed > dialect.max_seed:
        raise _refusal("seed", seed, f"a whole number from 0 to {dialect.max_seed}", server)
    if request.priority:
        raise _refusal("priority", request.priority, "0", server)
    chat = isinstance(request.prompt[0], Message)
    body: Fields = {"model": server.model, "stream": True, "stream_options": {"include_usage": True}, "seed": seed}
    body |= dialect.always
    body |= _sampling(request.sampling, server)
    body |= _prompt(request, server, chat=chat)
    if dialect.switch:
        body[dialect.switch] = request.speculative
    elif not (request.speculative == "auto" or (server.speculates is False and request.speculative in ("off", 0))):
        raise _refusal("speculative", request.speculative, "'auto'", server)
    if dialect.remember and not request.remember:
        body["remember"] = False
    if request.client:
        body["user"] = request.client
    return HttpRequest("/chat/completions" if chat else "/completions", body, seed)


def _refusal(field: str, value: object, expected: str, server: ServerInfo) -> InvalidRequest:
    return InvalidRequest(field, value, f"{expected}: {server.dialect.name} at {server.base} takes no other")


def _sampling(sampling: SamplingParams, server: ServerInfo) -> Fields:
    dialect, grammar = server.dialect, sampling.grammar
    fields: Fields = {"max_tokens": sampling.max_tokens}  # null is not the same as nothing, which is 16 beside raw text
    for name, neutral in _NEUTRAL.items():
        value, known = getattr(sampling, name), name in dialect.fields and name not in server.refuses
        if value is None:
            value = dialect.unset.get(name)
        elif not known and value != neutral:
            raise _refusal(name, value, repr(neutral), server)
        if known and value is not None:
            fields[dialect.fields[name]] = list(value) if isinstance(value, tuple) else value
    if sampling.stop:
        fields["stop"] = list(sampling.stop)
    if sampling.logit_bias:
        if "logit_bias" in server.refuses:
            raise _refusal("logit_bias", dict(sampling.logit_bias), "{}", server)
        fields["logit_bias"] = {str(token): bias for token, bias in sampling.logit_bias.items()}
    if grammar is not None:
        if grammar.kind not in dialect.grammars:
            raise _refusal("grammar.kind", grammar.kind, " or ".join(dialect.grammars), server)
        fields |= dialect.grammars[grammar.kind](grammar)
    return fields


def _prompt(request: Request, server: ServerInfo, *, chat: bool) -> Fields:
    """The prompt, and what is said in another way beside raw text than beside a chat."""
    prompt, dialect, logprobs = request.prompt, server.dialect, request.sampling.logprobs
    fields: Fields = {}
    if chat:
        fields["messages"] = [message(m) for m in prompt if isinstance(m, Message)]
    elif isinstance(prompt, str) or dialect.takes_ids:
        fields["prompt"] = prompt if isinstance(prompt, str) else list(prompt)
    else:
        raise _refusal("prompt", prompt, "text or a chat", server)
    if chat and request.tools:
        choice = request.tool_choice
        named = {"type": "function", "function": {"name": choice}}
        fields["tools"] = [dict(tool) for tool in request.tools]
        fields["tool_choice"] = choice if choice in ("auto", "none", "required") else named
        if not request.parallel_tool_calls:
            fields["parallel_tool_calls"] = False
    if chat:
        fields |= _template(request, server)
    if logprobs is not None:
        fields |= {"logprobs": True, "top_logprobs": logprobs} if chat else {"logprobs": logprobs}
    if (text := request.prediction) is not None:
        if not (dialect.prediction if chat else dialect.raw_prediction):
            raise _refusal("prediction", text, "None", server)
        fields["prediction"] = {"type": "content", "content": text} if chat else text
    if request.suffix is not None:
        if not dialect.suffix:
            raise _refusal("suffix", request.suffix, "None", server)
        fields["suffix"] = request.suffix
    return fields


def _template(request: Request, server: ServerInfo) -> Fields:
    """What the chat template is told. Which of the usual variables it reads is not known here; none minds another."""
    reasoning, most, values = request.reasoning, request.max_reasoning_tokens, dict[str, Any]()
    if server.dialect.reasoning:
        values |= {"reasoning_effort": reasoning} if reasoning in EFFORTS else {}
        values |= {"enable_thinking": reasoning == "on"} if reasoning in ("on", "off") else {}
        values |= {"max_reasoning_tokens": most} if most is not None else {}
        return values | ({"chat_template_kwargs": dict(request.template)} if request.template else {})
    if most is not None:
        raise _refusal("max_reasoning_tokens", most, "None", server)
    if reasoning != "auto":
        values = dict.fromkeys(("enable_thinking", "thinking"), reasoning != "off")
        values |= {"reasoning_effort": reasoning} if reasoning in EFFORTS else {}
    if server.dialect.template:
        variables = values | dict(request.template)
        return {"chat_template_kwargs": variables} if variables else {}
    if request.template:
        raise _refusal("template", dict(request.template), "{}", server)
    if values:
        raise _refusal("reasoning", reasoning, "'auto'", server)
    return {}


def message(value: Message) -> Fields:
    """A turn in OpenAI's form."""
    fields: Fields = {"role": value.role, "content": value.content}
    optional = {"name": value.name, "tool_call_id": value.tool_call_id, "reasoning_content": value.reasoning}
    fields |= {name: text for name, text in optional.items() if text is not None}
    if value.tool_calls:
        fields["tool_calls"] = [
            {"id": c.id, "type": "function", "function": {"name": c.name, "arguments": c.arguments}}
            for c in value.tool_calls
        ]
    return fields
