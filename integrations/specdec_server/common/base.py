"""What all values on the wire have in common."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator


class Received(BaseModel):
    """Part of a request. A field that is not known is refused: a parameter must not be dropped in silence. Null asks
    for nothing: clients that send back what they got have it in fields that only they know."""

    model_config = ConfigDict(
        extra="forbid", strict=True, allow_inf_nan=False,
        json_schema_extra={"additionalProperties": {"type": "null"}},
    )  # fmt: skip

    @model_validator(mode="before")
    @classmethod
    def _without_unknown_nulls(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value  # which is refused as that
        known = {field.alias or name for name, field in cls.model_fields.items()}
        return {name: given for name, given in value.items() if given is not None or name in known}


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
