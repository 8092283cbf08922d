"""The body of a request: read, parsed and validated, and which of its errors to tell.

Pydantic tries every arm of a union and tells what is wrong with each: an image among the parts of a message is first
of all no text. What helps is the arm that got furthest; where several got equally far, any of them would be right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import Request as HttpRequest
from pydantic import ValidationError
from pydantic_core import from_json
from starlette.requests import ClientDisconnect

from specdec_server.errors import Refusal
from specdec_server.fields import settle
from specdec_server.schemas import BodyRequest
from specdec_server.settings import Settings

Body = TypeVar("Body", bound=BodyRequest)

_KINDS = {
    "string_type": "text",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
}
"""What would be right where a value is of another kind."""
_UNREADABLE = {
    "image": "images",
    "image_url": "images",
    "input_image": "images",
    "input_audio": "audio files",
    "video_url": "videos",
    "document": "documents",
    "file": "files",
    "input_file": "files",
}
"""Types of parts as clients send them to models that read more than text."""


async def received(http: HttpRequest, schema: type[Body], settings: Settings) -> Body:
    """The body of a request, its fields settled. Raises Refusal."""
    body = await _json(http, settings.body)
    if not settings.strict and (ignored := settle(body, schema.form)):
        http.state.facts["ignored"] = ", ".join(ignored)
    return _validated(body, schema)


def _validated(body: Any, schema: type[Body]) -> Body:
    try:
        return schema.model_validate(body)
    except ValidationError as error:
        found = _furthest([_BodyError.of(each, body) for each in error.errors(include_url=False)])
        first = next((each for each in found if each.expected is None), found[0])
        wanted = dict.fromkeys(each.expected for each in found if each.expected and each.place == first.place)
        message = f"Input should be {' or '.join(wanted)}" if first.expected else first.message
        place = ".".join(str(part) for part in first.place if isinstance(part, int) or part.isidentifier())
        refusal = Refusal(400, f"{place or 'the body'}: {message}", code=first.kind, param=place or None)
        raise refusal from None


async def _json(http: HttpRequest, limit: int) -> Any:
    """Parsed once, and only what says that it is JSON."""
    kind = http.headers.get("content-type")
    media = (kind or "").partition(";")[0].strip().lower()
    if media != "application/json" and not (media.startswith("application/") and media.endswith("+json")):
        message = f"the Content-Type header is {repr(kind[:80]) if kind else 'missing'}; expected application/json"
        raise Refusal(400, message, code="content_type")
    raw = bytearray()
    try:
        async for part in http.stream():
            raw += part
            if len(raw) > limit:
                raise too_large(f"more than {limit}", limit)
        # refuses what may be in no field of any type: unpaired surrogates, NaN, hundreds of levels
        return from_json(raw, allow_inf_nan=False)
    except ClientDisconnect:
        raise Refusal(400, "the body ended early", code="incomplete_body") from None
    except ValueError as error:
        raise Refusal(400, f"the body is not JSON: {error}", code="invalid_json") from None


def too_large(length: str, limit: int) -> Refusal:
    return Refusal(413, f"the body is {length} bytes long; expected at most {limit}", code="body_too_large")


@dataclass(frozen=True, slots=True)
class _BodyError:
    """One of pydantic's, and which parts of its location are not in the body: they name arms of unions."""

    location: tuple[int | str, ...]
    arms: tuple[int, ...]
    kind: str
    message: str
    expected: str | None
    """Set where another kind of value would be right."""

    @classmethod
    def of(cls, error: Mapping[str, Any], body: Any) -> _BodyError:
        kind, location, message, given = error["type"], error["loc"], error["msg"], error["input"]
        arms = []
        for at, part in enumerate(location):
            if part in (range(len(body)) if isinstance(body, list) else body if isinstance(body, dict) else ()):
                body = body[part]
            elif kind != "missing" or at < len(location) - 1:
                arms.append(at)
        expected = error["ctx"]["expected"] if kind == "literal_error" else _KINDS.get(kind)
        if kind == "none_required":  # what is in a field that nobody knows
            kind, message = "extra_forbidden", "Extra inputs are not permitted"
        name = given.get("type") if kind == "unsupported_block" and isinstance(given, dict) else given
        at_type = location[-1:] == ("type",) or kind == "unsupported_block"
        if isinstance(name, str) and name in _UNREADABLE and "content" in location and at_type:
            kind, expected = "unsupported_part", None
            message = f"{_UNREADABLE[name]} are not supported; expected a part of type text"
        return cls(location, tuple(arms), kind, message, expected)

    @property
    def place(self) -> list[int | str]:
        return [part for at, part in enumerate(self.location) if at not in self.arms]

    @property
    def reach(self) -> tuple[list[int], int]:
        """How far its arm got: into which items of lists, then how deep."""
        place = self.place
        return [part for part in place if isinstance(part, int)], len(place)


def _furthest(errors: Sequence[_BodyError], depth: int = 0) -> list[_BodyError]:
    """The first error; where it is of a union, the first of each arm that got furthest. `depth`: how much of their
    location the errors share."""
    first = errors[0]
    at = next((arm for arm in first.arms if arm >= depth), None)
    if at is None:
        return [first]
    arms: dict[object, list[_BodyError]] = {}
    for error in errors:
        if error.location[:at] == first.location[:at]:
            arms.setdefault(error.location[at : at + 1], []).append(error)
    best = [error for arm in arms.values() for error in _furthest(arm, at + 1)]
    reach = max(error.reach for error in best)
    return [error for error in best if error.reach == reach]
