"""From a completion request to the engine's Requests: for each prompt, each of its choices."""

from __future__ import annotations

from collections.abc import Sequence

from specdec.errors import InvalidRequest
from specdec.types import Request
from specdec_server.completions.wire import CompletionRequest

Prompt = str | tuple[int, ...]


def requests_of(body: CompletionRequest) -> tuple[list[Request], list[int]]:
    """The requests, and the number of the prompt that each answers. Raises InvalidRequest."""
    choices = body.n or 1
    if body.best_of is not None and body.best_of != choices:
        raise InvalidRequest("best_of", body.best_of, "the same as n")
    if body.stream_options and not body.stream:
        raise InvalidRequest("stream_options", None, "none without stream")
    prompts = _prompts(body.prompt)
    requests = [
        Request(
            prompt,
            body.params(body.max_tokens, body.logprobs, None, choice),
            body.speculation(),
            body.prediction,
            client=body.client,
        )
        for prompt in prompts
        for choice in range(choices)
    ]
    return requests, [number // choices for number in range(len(requests))]


def _prompts(value: str | Sequence[int] | Sequence[str] | Sequence[Sequence[int]]) -> list[Prompt]:
    if isinstance(value, str):
        return [value]
    if all(isinstance(item, int) for item in value):
        return [tuple(item for item in value if isinstance(item, int))]
    return [item if isinstance(item, str) else tuple(item) for item in value if not isinstance(item, int)]
