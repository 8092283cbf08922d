"""From a completion request to the engine's Requests: for each prompt, each of its choices."""

from __future__ import annotations

from typing import Any

from specdec.errors import InvalidRequest
from specdec.types import Request
from specdec_server.completions.schemas import CompletionRequest


def completion_requests(body: CompletionRequest) -> list[Request]:
    """Raises InvalidRequest."""
    choices = body.n or 1
    if body.best_of is not None and body.best_of != choices:
        raise InvalidRequest("best_of", body.best_of, "the same as n")
    if body.stream_options and not body.stream:
        raise InvalidRequest("stream_options", None, "none without stream")
    one = isinstance(body.prompt, str) or isinstance(body.prompt[0], int)
    prompts: list[Any] = [body.prompt] if one else list(body.prompt)
    return [
        body.to_request(
            prompt,
            choice,
            max_tokens=body.max_tokens,
            logprobs=body.logprobs,
            prediction=body.prediction,
            suffix=body.suffix or None,
        )
        for prompt in prompts
        for choice in range(choices)
    ]
