"""What goes wrong on the way becomes one of specdec's errors: one line that names the server and what to try."""

from __future__ import annotations

import json
from typing import Any

import httpx

from specdec.errors import EngineBusy, EngineFailed, InvalidRequest, PromptTooLong, SpecDecError, first_line

_LONGEST = 300
"""Characters of a server's own words."""
_BUSY = (429, 503)
_KEYS = (401, 403)
_TOO_LONG = ("maximum context length", "available context size")
"""How vLLM and llama.cpp say it; others have OpenAI's code for it."""


class TryAgain(Exception):
    """Nothing was delivered, and it may go better in `after` seconds; else `error` is what came of it."""

    def __init__(self, error: SpecDecError, after: float | None = None) -> None:
        super().__init__(str(error))
        self.error, self.after = error, after


def of_response(response: httpx.Response, base: str, body: dict[str, Any]) -> SpecDecError | TryAgain:
    """What a response means that is no stream of events; it has been read. `body` is what was posted."""
    status, text, answer = response.status_code, words(response), _body_of(response)
    where = f"{base} answers {status}"
    if status == 200:
        if isinstance(answer, dict) and "message" in answer:
            return of_stream(answer, base, body)
        kind = response.headers.get("content-type", "") or "no type"
        return EngineFailed(f"{response.url} answers with {kind}, not with a stream of events")
    if status in _KEYS:
        return EngineFailed(f"{where}: {text}; pass api_key= or set SPECDEC_API_KEY")
    if status in _BUSY:
        try:
            after = max(0.0, float(response.headers.get("retry-after", "")))
        except ValueError:  # nothing, or a date: nobody who is asked to wait that long waits
            return TryAgain(EngineBusy(f"{where}: {text}; try again later"))
        return TryAgain(EngineBusy(f"{where}: {text}; it asks to wait {after:g} s"), after)
    if status == 404:
        asked = f"for model {body.get('model')!r}"
        return EngineFailed(f"{where} {asked}: {text}; specdec info --url {base} lists what it has")
    if 400 <= status < 500:
        return _refusal(answer, text, body, base)
    return EngineFailed(f"{where}: {text}; see the server's own log")


def of_transport(error: httpx.HTTPError, base: str, received: str = "0 tokens") -> EngineFailed:
    """What a connection that did not work means; `received` says how much had come."""
    reason = _line(first_line(error))
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return EngineFailed(f"{base} cannot be reached ({reason}); is the server running, and is that its port?")
    if isinstance(error, httpx.TimeoutException):
        return EngineFailed(f"{base} went silent after {received}, for longer than the timeout allows")
    return EngineFailed(f"{base} broke the connection after {received} ({reason}); see the server's own log")


def of_stream(error: Any, base: str, body: dict[str, Any]) -> SpecDecError:
    """An error object that came as an event of a stream."""
    inner = error if isinstance(error, dict) else {"message": str(error)}
    text = _line(str(inner.get("message", inner)))
    if inner.get("code") in (400, 422) or "BadRequest" in str(inner.get("type")):
        return _refusal(inner, text, body, base)
    return EngineFailed(f"{base} ended the answer with an error: {text}")


def words(response: httpx.Response) -> str:
    """What the server said, in one line."""
    error = _body_of(response)
    text = error.get("message") or error.get("detail") if isinstance(error, dict) else None
    return _line(str(text or response.text or response.reason_phrase))


def _refusal(error: Any, text: str, body: dict[str, Any], base: str) -> InvalidRequest:
    """A server's refusal of a value."""
    details = error if isinstance(error, dict) else {}
    field = str(details.get("param") or "request")
    expected = f"what {base} takes; it says: {text}"
    if details.get("code") == "context_length_exceeded" or any(words in text for words in _TOO_LONG):
        return PromptTooLong("prompt", None, expected)
    return InvalidRequest(field, body.get(field), expected)


def _body_of(response: httpx.Response) -> Any:
    """The error object of an answer, in the usual wrapping; else the whole answer, if it is JSON."""
    try:
        body = response.json()
    except (json.JSONDecodeError, UnicodeDecodeError):
        return None
    return body["error"] if isinstance(body, dict) and isinstance(body.get("error"), dict) else body


def _line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 3] + "..."
