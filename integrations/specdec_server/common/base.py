"""What all values on the wire have in common."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


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
