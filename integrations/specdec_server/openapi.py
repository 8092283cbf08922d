"""What the schema says beyond what FastAPI finds out: bodies, streams, and the errors.

A stream is described as OpenAPI 3.2 does it: `itemSchema` is one event, and the schema of its data is named.
"""

from __future__ import annotations

from typing import Any, Literal

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from specdec_server.schemas import ErrorResponse, MessageErrorResponse, RequestModel, ResponseModel, SamplingRequest

_STATUSES = {
    400: "The request is wrong; `param` names the field.",
    401: "The API key is missing or wrong.",
    403: "The Host or the Origin may not call.",
    404: "There is no such model.",
    413: "The body is too large.",
    422: "The answer could not follow its grammar.",
    429: "The queue is full; Retry-After says when to come again.",
    503: "The engine is not running, or the server is shutting down.",
    504: "The request took too long.",
}

ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorResponse, "description": text} for status, text in _STATUSES.items()
}


MESSAGE_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": MessageErrorResponse, "description": text} for status, text in _STATUSES.items()
}
"""Anthropic's, of its endpoints."""


def operation(
    body: type[RequestModel],
    whole: type[ResponseModel],
    event: type[ResponseModel],
    *,
    done: bool,
    errors: dict[int | str, dict[str, Any]] = ERRORS,
) -> dict[str, Any]:
    """Options of a route that answers a `body` at once or as a stream of `event`s, the last of which is [DONE] if
    `done`."""
    end = " The last data is `[DONE]`." if done else ""
    item = {
        "type": "object",
        "required": ["data"],
        "properties": {
            "event": {"type": "string"},
            "data": {"type": "string", "contentMediaType": "application/json", "contentSchema": _reference(event)},
        },
    }
    stream = {"itemSchema": item, "schema": {"type": "string"}}
    description = f"The answer; with `stream`, server-sent events, one a round.{end} Comments keep it alive."
    answers = {200: {"model": whole, "description": description, "content": {"text/event-stream": stream}}}
    return {"response_model": None, "responses": errors | answers, "openapi_extra": _body(body)}


def body_of(body: type[RequestModel], errors: dict[int | str, dict[str, Any]] = ERRORS) -> dict[str, Any]:
    """Options of a route that takes a `body` and answers at once."""
    return {"responses": errors, "openapi_extra": _body(body), "response_model_exclude_unset": True}


def _body(body: type[RequestModel]) -> dict[str, Any]:
    content = {"application/json": {"schema": _reference(body)}}
    return {"requestBody": {"required": True, "content": content}}


def _reference(model: type[RequestModel | ResponseModel]) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{model.__name__}"}


def describe(app: FastAPI, names: list[str] | None, *models: type[RequestModel | ResponseModel]) -> dict[str, Any]:
    """The schema of `app`, with these bodies and events among its components. Requests may name no model, or one of
    `names`; any, where that is None."""
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, routes=app.routes)
        components = schema["components"]["schemas"]
        for model in models:
            mode: Literal["validation", "serialization"] = (
                "validation" if issubclass(model, RequestModel) else "serialization"
            )
            own = model.model_json_schema(ref_template="#/components/schemas/{model}", mode=mode)
            components |= own.pop("$defs", {}) | {model.__name__: own}
            if names is not None and issubclass(model, SamplingRequest):
                own["properties"]["model"] = {"title": "Model", "enum": [*names, None]}
        app.openapi_schema = schema
    return app.openapi_schema
