"""What a client reads when something is wrong: OpenAI's error object, and the status that fits it.

A refusal says which field is wrong and what would be right. It never repeats texts of the request: what a user wrote
belongs in no log of a client either.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from fastapi import FastAPI, Request
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
from specdec_server.schemas import ErrorInfo, ErrorResponse, MessageErrorInfo, MessageErrorResponse

_TELLING = re.compile(r"\d+ \w+ (long|deep)")
_HARMLESS = (bool, int, float, type(None))
_FIELDS = {"template": "chat_template_kwargs", "reasoning": "reasoning_effort"}
"""What bodies call fields that have another name in the engine."""
_OWN_WORDS: dict[type[EngineError], tuple[int, str]] = {
    GrammarFailed: (422, "grammar_failed"),
    InvalidLogits: (500, "invalid_logits"),
}
"""Errors whose own words a client may read."""
MESSAGES_PATH = "/v1/messages"
"""Where Anthropic's clients ask, which read errors in a form of its own."""
_MESSAGE_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


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
        self.status, self.headers = status, dict(headers or {})
        kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
        self.info = ErrorInfo(message=message, type=kind, param=param, code=code)

    @property
    def name(self) -> str:
        """For the log and for clients that know codes alone."""
        return self.info.code or self.info.type

    @property
    def body(self) -> ErrorResponse:
        return ErrorResponse(error=self.info)

    @property
    def message_body(self) -> MessageErrorResponse:
        """As Anthropic's clients read it."""
        kind = _MESSAGE_TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "api_error")
        return MessageErrorResponse(type="error", error=MessageErrorInfo(type=kind, message=self.info.message))

    def response(self, scope: Scope) -> JSONResponse:
        """The answer to the request of `scope`, whose line in the log names the error too."""
        scope["state"]["facts"]["error"] = self.name
        body = self.message_body if scope["path"].startswith(MESSAGES_PATH) else self.body
        return JSONResponse(body.model_dump(), self.status, self.headers)


def busy(seconds: float) -> Refusal:
    """The queue is full; `seconds` is when a place may be free."""
    wait = str(max(1, min(120, round(seconds))))
    message = f"the queue is full; try again in {wait} s"
    return Refusal(429, message, code="queue_full", headers={"Retry-After": wait})


def unavailable(message: str, code: str) -> Refusal:
    """For now."""
    return Refusal(503, message, code=code, headers={"Retry-After": "5"})


def shutting_down() -> Refusal:
    return unavailable("the server is shutting down", "shutting_down")


def refusal_of(error: BaseException) -> Refusal:
    """Any error as what the client reads of it. Bugs are named by nothing but their being one."""
    match error:
        case Refusal():
            return error
        case PromptTooLong():
            return Refusal(400, str(error), code="context_length_exceeded", param=error.field)
        case InvalidRequest(value=value):
            field = _FIELDS.get(error.field, error.field)
            telling = isinstance(value, _HARMLESS) or (isinstance(value, str) and _TELLING.fullmatch(value))
            said = str(error).removeprefix(error.field) if telling else f" is not what is expected: {error.expected}"
            return Refusal(400, field + said, code="invalid_value", param=field)
        case GrammarFailed() | InvalidLogits():
            status, code = _OWN_WORDS[type(error)]
            return Refusal(status, str(error), code=code)
        case EngineBusy():
            return busy(1)
        case EngineClosed():
            return unavailable("the engine is not running", "engine_unavailable")
        case EngineError():
            return unavailable("the engine failed", "engine_failed")
        case _:
            return Refusal(500, "the server made a mistake; its log says which", code="internal_error")


def add_error_handlers(app: FastAPI) -> None:
    """Every error that a route lets through becomes an error object."""

    async def answer(http: Request, error: Exception) -> JSONResponse:
        if isinstance(error, HTTPException):  # the router's: there is no such path or method
            error = Refusal(error.status_code, error.detail, headers=error.headers)
        return refusal_of(error).response(http.scope)

    for kind in (Exception, SpecDecError, HTTPException):
        app.add_exception_handler(kind, answer)
