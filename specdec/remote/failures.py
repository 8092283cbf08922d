"""What goes wrong on the way becomes one of specdec's errors: one line that names the server and what to try."""

from __future__ import annotations

import json
from typing import Any

import httpx

from specdec.errors import EngineBusy, EngineFailed, InvalidRequest, LoadError, PromptTooLong, SpecDecError

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


def of_answer(response: httpx.Response, base: str, asked: dict[str, Any]) -> SpecDecError | TryAgain:
    """What an answer other than 200 means; its body has been read."""
    status, said = response.status_code, words(response)
    where = f"{base} answers {status}"
    if status in _KEYS:
        return EngineFailed(f"{where}: {_key_advice(said)}")
    if status in _BUSY:
        after = _seconds(response.headers.get("retry-after"))
        again = "try again later" if after is None else f"it asks to wait {after:g} s"
        return TryAgain(EngineBusy(f"{where}: {said}; {again}"), after)
    if status == 404:
        return EngineFailed(
            f"{where} for model {asked.get('model')!r}: {said}; specdec info --url {base} lists what it has"
        )
    if 400 <= status < 500:
        return refused(body_of(response), said, asked, base)
    return EngineFailed(f"{where}: {said}; see the server's own log")


def of_transport(error: httpx.HTTPError, base: str, received: int) -> EngineFailed:
    """What a connection that did not work means; `received` tokens had come."""
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return EngineFailed(
            f"{base} cannot be reached ({_reason(error)}); is the server running, and is that its port?"
        )
    if isinstance(error, httpx.TimeoutException):
        return EngineFailed(f"{base} went silent after {received} tokens, for longer than timeout= allows")
    return EngineFailed(f"{base} broke the connection after {received} tokens ({_reason(error)})")


def of_stream(error: Any, base: str, asked: dict[str, Any]) -> SpecDecError:
    """An error object that came as an event of a stream."""
    inner = error if isinstance(error, dict) else {"message": str(error)}
    said = _line(str(inner.get("message", inner)))
    if inner.get("code") in (400, 422) or "BadRequest" in str(inner.get("type")):
        return refused(inner, said, asked, base)
    return EngineFailed(f"{base} ended the answer with an error: {said}")


def refused(error: Any, said: str, asked: dict[str, Any], base: str) -> InvalidRequest:
    """A server's refusal of a value."""
    told = error if isinstance(error, dict) else {}
    field = told.get("param") or "request"
    expected = f"what {base} takes; it says: {said}"
    too_long = told.get("code") == "context_length_exceeded" or any(words in said for words in _TOO_LONG)
    if too_long:
        return PromptTooLong("prompt", None, expected)
    return InvalidRequest(str(field), asked.get(field), expected)


def of_load(error: SpecDecError) -> LoadError:
    """The same words, while connecting."""
    return LoadError(str(error))


def words(response: httpx.Response) -> str:
    """What the server said, in one line."""
    error = body_of(response)
    text = error.get("message") or error.get("detail") if isinstance(error, dict) else None
    return _line(str(text or response.text or response.reason_phrase))


def body_of(response: httpx.Response) -> Any:
    """The error object of an answer, in the usual wrapping; else the whole answer, if it is JSON."""
    try:
        body = response.json()
    except (json.JSONDecodeError, UnicodeDecodeError):
        return None
    return body["error"] if isinstance(body, dict) and isinstance(body.get("error"), dict) else body


def _key_advice(said: str) -> str:
    return f"{said}; pass api_key= or set SPECDEC_API_KEY"


def _seconds(header: str | None) -> float | None:
    try:
        return max(0.0, float(header)) if header else None
    except ValueError:  # a date: nobody who is asked to wait that long waits
        return None


def _reason(error: Exception) -> str:
    return _line(str(error)) or type(error).__name__


def _line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 3] + "..."
