"""What a client reads when something is wrong: OpenAI's error object, and the status that fits it.

A refusal says which field is wrong and what would be right. It never repeats texts of the request: what a user wrote
belongs in no log of a client either.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import Scope

from specdec.errors import (
    EngineBusy,
    EngineClosed,
    EngineError,
    GrammarFailed,
    InvalidLogits,
    InvalidRequest,
    PromptTooLong,
    SpecDecError,
)
from specdec_server.common.base import Error, ErrorBody, as_json
from specdec_server.common.unions import fault

_TELLING = re.compile(r"\d+ \w+ (long|deep)")
_HARMLESS = (bool, int, float, type(None))
_TOLD: dict[type[EngineError], tuple[int, str]] = {
    GrammarFailed: (422, "grammar_failed"),
    InvalidLogits: (500, "invalid_logits"),
}


class Refusal(SpecDecError):
    """An answer that is an error, or the error event that ends a stream."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param
        self.headers = dict(headers or {})

    @property
    def kind(self) -> str:
        """OpenAI's `type`."""
        names = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
        return names.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")

    def body(self) -> Error:
        return Error(error=ErrorBody(message=self.message, type=self.kind, param=self.param, code=self.code))

    def response(self, scope: Scope) -> JSONResponse:
        """The answer to the request of `scope`, whose line in the log names the error too."""
        scope["state"]["facts"]["error"] = self.code or self.kind
        return JSONResponse(self.body().model_dump(), self.status, self.headers)

    def json(self) -> str:
        return as_json(self.body())


def busy(seconds: float) -> Refusal:
    """The queue is full; `seconds` is when a place may be free."""
    wait = str(max(1, min(120, round(seconds))))
    message = f"the queue is full; try again in {wait} s"
    return Refusal(429, message, code="queue_full", headers={"Retry-After": wait})


def refusal_of(error: BaseException) -> Refusal:
    """Any error as what the client reads of it. Bugs are named by nothing but their being one."""
    match error:
        case Refusal():
            return error
        case PromptTooLong():
            return Refusal(400, str(error), code="context_length_exceeded", param=error.field)
        case InvalidRequest():
            return Refusal(400, _without_texts(error), code="invalid_value", param=error.field)
        case EngineBusy():
            return busy(1)
        case GrammarFailed() | InvalidLogits():
            status, code = _TOLD[type(error)]
            return Refusal(status, str(error), code=code)
        case EngineClosed():
            return Refusal(503, "the engine is not running", code="engine_unavailable", headers={"Retry-After": "5"})
        case EngineError():
            return Refusal(503, "the engine failed", code="engine_failed", headers={"Retry-After": "5"})
        case _:
            return Refusal(500, "the server made a mistake; its log says which", code="internal_error")


def _without_texts(error: InvalidRequest) -> str:
    value = error.value
    if isinstance(value, _HARMLESS) or (isinstance(value, str) and _TELLING.fullmatch(value)):
        return str(error)
    return f"{error.field} is not what is expected: {error.expected}"


def install(app: FastAPI) -> None:
    """Every error that a route lets through becomes an error object."""
    app.add_exception_handler(Exception, _answer)
    app.add_exception_handler(SpecDecError, _answer)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.add_exception_handler(HTTPException, _answer_http)


async def _answer(request: Request, error: Exception) -> JSONResponse:
    return refusal_of(error).response(request.scope)


async def _answer_invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    if isinstance(error.body, bytes):  # FastAPI reads as JSON only what says that it is
        kind = request.headers.get("content-type")
        message = f"the Content-Type header is {repr(kind[:80]) if kind else 'missing'}; expected application/json"
        return Refusal(400, message, code="content_type").response(request.scope)
    found = fault(error.errors(), error.body)
    if found.kind == "json_invalid":
        return Refusal(400, "the body is not JSON", code="invalid_json").response(request.scope)
    message = f"{found.place or 'the body'}: {found.message}"
    return Refusal(400, message, code=found.kind, param=found.place or None).response(request.scope)


async def _answer_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    cause = error.__cause__
    if not isinstance(cause, Refusal):  # one that came while the body was read is hidden behind FastAPI's own
        cause = Refusal(error.status_code, error.detail, headers=error.headers)
    return cause.response(request.scope)
