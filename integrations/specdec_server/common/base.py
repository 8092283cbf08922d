"""What all values on the wire have in common."""

from __future__ import annotations

import json

from pydantic import BaseModel, ConfigDict

from specdec.errors import InvalidRequest


class Received(BaseModel):
    """Part of a request. A field that is not known is refused: a parameter must not be dropped in silence."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Sent(BaseModel):
    """Part of an answer. Fields that were never set stay off the wire; those set to None are null on it."""

    model_config = ConfigDict(extra="forbid")


class ErrorBody(Sent):
    message: str
    type: str
    param: str | None
    code: str | None


class Error(Sent):
    error: ErrorBody


def as_json(value: Sent) -> str:
    """One line of plain ASCII: some clients take U+2028 for the end of a line."""
    return value.model_dump_json(exclude_unset=True, ensure_ascii=True)


def data(text: str, name: str | None = None) -> str:
    """One server-sent event."""
    return f"event: {name}\ndata: {text}\n\n" if name else f"data: {text}\n\n"


def check_plain(field: str, value: object) -> None:
    """Free-form JSON may hold what is no text (unpaired surrogates) or no number (NaN)."""
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):  # UnicodeEncodeError is a ValueError
        raise InvalidRequest(
            field, None, "JSON without NaN, unpaired surrogates or depths of hundreds"
        ) from None
