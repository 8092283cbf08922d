"""What the schema says beyond what FastAPI finds out: the streams, and the errors.

A stream is described as OpenAPI 3.2 does it: `itemSchema` is one event, and the schema of its data is named.
"""

from __future__ import annotations

from typing import Any

from specdec_server.common.base import Error, Sent

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
    status: {"model": Error, "description": text} for status, text in _STATUSES.items()
}


def answers(whole: type[Sent], event: type[Sent], *, done: bool) -> dict[int | str, dict[str, Any]]:
    """`responses` of a route that answers at once or as a stream of `event`s, the last of which is [DONE] if `done`."""
    end = " The last data is `[DONE]`." if done else ""
    reference = {"$ref": f"#/components/schemas/{event.__name__}"}
    item = {
        "type": "object",
        "required": ["data"],
        "properties": {
            "event": {"type": "string"},
            "data": {"type": "string", "contentMediaType": "application/json", "contentSchema": reference},
        },
    }
    stream = {"itemSchema": item, "schema": {"type": "string"}}
    description = f"The answer; with `stream`, server-sent events, one a round.{end} Comments keep it alive."
    return ERRORS | {200: {"model": whole, "description": description, "content": {"text/event-stream": stream}}}


def name_model(schema: dict[str, Any], served: str) -> None:
    """Requests may name one model, or none."""
    for component in schema["components"]["schemas"].values():
        if component.get("title", "").endswith("Request") and "model" in component["properties"]:
            component["properties"]["model"] = {"title": "Model", "enum": [served, None]}


def add_schemas(schema: dict[str, Any], *models: type[Sent]) -> dict[str, Any]:
    """Name the events of streams among the schema's components."""
    components = schema.setdefault("components", {}).setdefault("schemas", {})
    for model in models:
        own = model.model_json_schema(ref_template="#/components/schemas/{model}", mode="serialization")
        components |= own.pop("$defs", {}) | {model.__name__: own}
    return schema
