"""From a Request to a path and a JSON body in a server's dialect. What has no place there is refused by name."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from specdec.errors import InvalidRequest
from specdec.remote.dialects import Fields
from specdec.remote.server import Server
from specdec.types import Message, Request

_NEUTRAL: dict[str, Any] = {
    "top_k": 0, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0, "presence_penalty": 0.0,
    "frequency_penalty": 0.0, "min_tokens": 0, "stop_token_ids": (), "ignore_eos": False,
}  # fmt: skip
_SEEDS = 2**31
"""Fresh seeds are below this: every server takes them."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What is posted."""

    path: str
    body: Fields
    seed: int


def ask(request: Request, server: Server) -> Ask:
    """Raises InvalidRequest, which names the field and the server."""
    seed = _seed(request, server)
    chat = isinstance(request.prompt[0], Message)
    body: Fields = {
        "model": server.model,
        "stream": True,
        "stream_options": {"include_usage": True},
        "seed": seed,
    }
    body |= server.dialect.always
    for part in (_shaping, _ending, _grammar, _speculation, _scheduling):
        body |= part(request, server)
    body |= _logprobs(request) | (_chat(request) if chat else _raw(request, server))
    return Ask("/chat/completions" if chat else "/completions", body, seed)


def refuse(field: str, value: object, expected: str, server: Server) -> InvalidRequest:
    return InvalidRequest(field, value, f"{expected}: {server.dialect.name} at {server.base} takes no other")


def _seed(request: Request, server: Server) -> int:
    seed = request.sampling.seed
    if seed is not None and seed > server.dialect.max_seed:
        raise refuse("seed", seed, f"a whole number from 0 to {server.dialect.max_seed}", server)
    return secrets.randbelow(_SEEDS) if seed is None else seed


def _shaping(request: Request, server: Server) -> Fields:
    return {name: value for field in (*_NEUTRAL, "temperature") for name, value in _mapped(field, request, server)}


def _mapped(field: str, request: Request, server: Server) -> Iterator[tuple[str, Any]]:
    value, names = getattr(request.sampling, field), server.dialect.fields
    if value is None:
        value = server.dialect.unset.get(field)
        if value is not None:
            yield names[field], value
        return
    neutral = value == _NEUTRAL.get(field)
    if not neutral and (field not in names or field in server.refuses):
        raise refuse(field, value, f"{_NEUTRAL.get(field)!r}", server)
    if field in names and not (neutral and field in server.refuses):
        yield names[field], list(value) if isinstance(value, tuple) else value


def _ending(request: Request, server: Server) -> Fields:
    sampling = request.sampling
    fields: Fields = {"max_tokens": sampling.max_tokens}  # null is not the same as nothing, which is 16 beside raw text
    if sampling.stop:
        fields["stop"] = list(sampling.stop)
    if sampling.logit_bias:
        if "logit_bias" in server.refuses:
            raise refuse("logit_bias", dict(sampling.logit_bias), "{}", server)
        fields["logit_bias"] = {str(token): bias for token, bias in sampling.logit_bias.items()}
    return fields


def _logprobs(request: Request) -> Fields:
    wanted = request.sampling.logprobs
    if wanted is None:
        return {}
    chat = isinstance(request.prompt[0], Message)
    return {"logprobs": True, "top_logprobs": wanted} if chat else {"logprobs": wanted}


def _grammar(request: Request, server: Server) -> Fields:
    grammar = request.sampling.grammar
    if grammar is None:
        return {}
    if grammar.kind not in server.dialect.grammars:
        raise refuse("grammar.kind", grammar.kind, " or ".join(server.dialect.grammars), server)
    return server.dialect.grammars[grammar.kind](grammar)


def _speculation(request: Request, server: Server) -> Fields:
    fields = Fields()
    if request.prediction is not None:
        chat = isinstance(request.prompt[0], Message)
        if not (server.dialect.prediction if chat else server.dialect.raw_prediction):
            raise refuse("prediction", request.prediction, "None", server)
        content = {"type": "content", "content": request.prediction}
        fields["prediction"] = content if chat else request.prediction
    if server.dialect.switch:
        fields[server.dialect.switch] = request.speculative
    elif not (request.speculative == "auto" or (server.speculates is False and request.speculative in ("off", 0))):
        raise refuse("speculative", request.speculative, "'auto'", server)
    return fields


def _scheduling(request: Request, server: Server) -> Fields:
    """`timeout` is kept here, whatever the server does."""
    if request.priority:
        raise refuse("priority", request.priority, "0", server)
    return {"user": request.client} if request.client else {}


def _raw(request: Request, server: Server) -> Fields:
    prompt = request.prompt
    if not (isinstance(prompt, str) or server.dialect.takes_ids):
        raise refuse("prompt", prompt, "text or a chat", server)
    return {"prompt": prompt if isinstance(prompt, str) else list(prompt)}


def _chat(request: Request) -> Fields:
    fields: Fields = {"messages": [message(m) for m in request.prompt if isinstance(m, Message)]}
    if request.tools:
        fields |= {"tools": [dict(t) for t in request.tools], "tool_choice": _choice(request.tool_choice)}
        if not request.parallel_tool_calls:
            fields["parallel_tool_calls"] = False
    return fields


def _choice(choice: str) -> str | Fields:
    if choice in ("auto", "none", "required"):
        return choice
    return {"type": "function", "function": {"name": choice}}


def message(value: Message) -> Fields:
    """A turn as on the wire."""
    fields: Fields = {"role": value.role, "content": value.content}
    optional = {"name": value.name, "tool_call_id": value.tool_call_id, "reasoning_content": value.reasoning}
    fields |= {name: text for name, text in optional.items() if text is not None}
    if value.tool_calls:
        fields["tool_calls"] = [
            {"id": c.id, "type": "function", "function": {"name": c.name, "arguments": c.arguments}}
            for c in value.tool_calls
        ]
    return fields
