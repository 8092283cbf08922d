"""Reads one call that starts with a head, and arguments in JSON or in tags, while it is still being written."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any, Protocol

from specdec.text.tools.formats import ArgumentTags, ToolFormat

Schemas = Mapping[str, Mapping[str, Any]]
"""The tools' parameters, by their names."""
_KINDS = {bool: {"boolean"}, int: {"integer", "number"}, float: {"number"}, list: {"array"}, dict: {"object"}}
"""Types of JSON that a value of Python is of."""
_PYTHON = {"True": "true", "False": "false", "None": "null"}
"""How templates in Python write some values."""


def with_marks(tool_format: ToolFormat, rewrite: Callable[[str], str]) -> ToolFormat:
    """The same, with what stands within a call rewritten."""
    head = tool_format.head
    if head is None:
        return tool_format
    tags = head.tags and ArgumentTags(*(rewrite(getattr(head.tags, f.name)) for f in fields(head.tags)))
    number = (rewrite(head.number[0]), head.number[1])
    quote = rewrite(head.quote)
    head = replace(
        head, lead=rewrite(head.lead), name_end=rewrite(head.name_end), number=number, tags=tags, quote=quote
    )
    return replace(tool_format, head=head, tail=rewrite(tool_format.tail))


class ArgumentReader(Protocol):
    """Turns arguments as they are written into JSON."""

    done: bool
    quoted: bool

    def feed(self, text: str) -> tuple[str, str]:
        """The JSON that `text` adds, and the text behind the arguments."""
        ...

    def close(self) -> str:
        """The JSON that is still missing, where the call ends here."""
        ...


class HeadScanner:
    """Takes a call's text from its lead on; says nothing before the name is known, and never fails."""

    def __init__(self, tool_format: ToolFormat, schemas: Schemas) -> None:
        assert tool_format.head is not None
        self._head, self._tail, self._schemas = tool_format.head, tool_format.tail.strip(), schemas
        self.raw = ""
        """All that was read."""
        self.name: str | None = None
        self.call_id = ""
        """The model's own, or ""."""
        self.done = False
        self._held = ""
        """The head, then the tail, as far as it was read."""
        self._arguments: ArgumentReader | None = None
        self._broken = False
        """Its head names nothing, so it is no call, whatever follows."""

    @property
    def quoted(self) -> bool:
        """Inside a text."""
        return self._arguments is not None and self._arguments.quoted

    def feed(self, text: str) -> tuple[tuple[bool, str], str]:
        """Whether the name has come to be known and which arguments were added; and the text behind the call."""
        known, added, whole = self.name is not None, "", text
        if self._arguments is None and not self._broken:
            self._held += text
            text = self._read_head()
        if self._arguments is not None and not self._arguments.done:
            added, text = self._arguments.feed(text)
        if self._arguments is not None and self._arguments.done:
            self._held += text
            _, found, text = self._held.partition(self._tail) if self._tail else ("", "found", self._held)
            self.done = bool(found)
        rest = text if self.done else ""
        self.raw += whole.removesuffix(rest) if rest else whole
        return (not known and self.name is not None, added), rest

    def close(self) -> tuple[bool, str]:
        """The same, where the mark behind the call is met."""
        known = self.name is not None
        if self._arguments is None and self._head.tags is not None and not self._broken:
            self._name(self._held)
        if self._arguments is None or self._arguments.done:
            return False, ""
        return not known, self._arguments.close()

    def _read_head(self) -> str:
        """The text behind it, "" while it is not complete."""
        ends = [end for end in (self._head.name_end,) if end.strip()]
        first = self._head.tags.key if self._head.tags else "{" if self._head.quote else ""
        found = [(at, end) for end in ends if (at := self._held.find(end.strip())) >= 0]
        found += [(at, "") for at in ([self._held.find(first)] if first else []) if at >= 0]
        if not found:
            return ""
        at, end = min(found)
        rest = self._held[at + len(end.strip()) :]
        self._name(self._held[:at])
        return rest

    def _name(self, head: str) -> None:
        lead, (mark, _) = self._head.lead.strip(), self._head.number
        head = head.strip()
        self._held = ""
        self._broken = not head.startswith(lead) or head == lead
        if self._broken:
            return
        name, _, number = head.removeprefix(lead).partition(mark) if mark else (head.removeprefix(lead), "", "")
        self.name = name.strip()
        self.call_id = self._head.call_id.format(name=self.name, number=number.strip()) if number else ""
        if self._head.tags:
            self._arguments = TagReader(self._head.tags, self._tail, self._schemas.get(self.name, {}))
        else:
            self._arguments = NotationReader(self._head.quote) if self._head.quote else JsonReader()


class JsonReader:
    """Arguments that are a JSON object already."""

    def __init__(self) -> None:
        self.done = self.quoted = self._escaped = self._begun = False
        self._depth = 0

    def feed(self, text: str) -> tuple[str, str]:
        text = text if self._begun else text.lstrip()
        self._begun = self._begun or bool(text)
        for at, letter in enumerate(text):
            if self.quoted:
                self.quoted = self._escaped or letter != '"'
                self._escaped = not self._escaped and letter == "\\"
            else:
                self.quoted = letter == '"'
                self._depth += (letter in "{[") - (letter in "}]")
                if letter in "}]" and self._depth == 0:
                    self.done = True
                    return text[: at + 1], text[at + 1 :]
        return text, ""

    def close(self) -> str:
        return ""


class NotationReader:
    """Arguments as Gemma writes them, `{key:value,...}`: keys are bare, a text stands between two of the same mark, and
    all else is as in JSON."""

    def __init__(self, quote: str) -> None:
        self._quote = quote
        self.done = self.quoted = False
        self._held = ""
        self._closing: list[str] = []
        """What ends each object and array that is open."""
        self._keyed = False
        """Whether a key comes next."""

    def feed(self, text: str) -> tuple[str, str]:
        self._held += text
        out = ""
        while not self.done:
            added = self._quoted_part() if self.quoted else self._next()
            if added is None:
                return out, ""
            out += added
        return out, self._held

    def close(self) -> str:
        return ""

    def _quoted_part(self) -> str | None:
        """Of a text: all that cannot be a part of its end."""
        text, found, rest = self._held.partition(self._quote)
        if found:
            self._held, self.quoted = rest, False
            return _escaped(text) + '"'
        text, self._held = _without_start(self._held, {self._quote})
        return _escaped(text) or None

    def _next(self) -> str | None:
        """Up to the next sign; None where it is not written yet."""
        signs = (self._quote, *(":,}" if self._keyed else ",{}[]"))
        at, sign = min(((at, sign) for sign in signs if (at := self._held.find(sign)) >= 0), default=(-1, ""))
        if at < 0:
            return None
        word, self._held = self._held[:at].strip(), self._held[at + len(sign) :]
        if sign == self._quote:
            self.quoted = True
            return '"'
        if sign == ":":
            self._keyed = False
            return (json.dumps(word.strip('"'), ensure_ascii=False) if word else "") + ": "
        if sign in "{[":
            self._closing.append("}" if sign == "{" else "]")
        elif sign in "}]":
            sign = self._closing.pop()
            self.done = not self._closing
        self._keyed = not self.done and self._closing[-1] == "}" and sign in "{,"
        value = as_json(word, None) if word and sign in ",}]" else ""
        return value + (", " if sign == "," else sign)


class TagReader:
    """Arguments as tagged pairs. Those that can be nothing but a text, by their mark or else by their schema, stream;
    others come out once they are whole."""

    def __init__(self, tags: ArgumentTags, tail: str, schema: Mapping[str, Any]) -> None:
        self._tags, self._tail, self._schema = tags, tail, schema
        self.done = self.quoted = False
        self._held = self._key = ""
        self._count = 0
        self._types: set[str] | None = None
        self._streams = False

    def feed(self, text: str) -> tuple[str, str]:
        self._held += text
        out = ""
        while not self.done:
            added = self._value() if self.quoted else self._next()
            if added is None:
                return out, ""
            out += added
        return out, self._held

    def close(self) -> str:
        if self.quoted:
            return ""
        self.done = True
        return "}" if self._count else "{}"

    def _next(self) -> str | None:
        """Go on to the next value, or to the end; None where that is not written yet."""
        tags = self._tags
        end = self._held.find(self._tail) if self._tail else -1
        start = self._held.find(tags.key)
        if end >= 0 and (start < 0 or end < start):
            self._held = self._held[end:]
            return self.close()
        key, found, rest = self._held[start + len(tags.key) :].partition(tags.key_end)
        marks = (tags.value.strip(), (tags.other or tags.value).strip())
        at, mark = min(((rest.find(mark), mark) for mark in marks if mark in rest), default=(-1, ""))
        if start < 0 or not found or at < 0 or (not mark and not rest):
            return None
        rest = rest[at + len(mark) :]
        self._held = rest if mark else rest.removeprefix("\n")
        self._key, self.quoted = key.strip(), True
        self._types = None if tags.other else types_of(self._schema, self._key)
        self._streams = mark == marks[0] if tags.other else self._types == {"string"}
        self._count += 1
        opening = f"{', ' if self._count > 1 else '{'}{json.dumps(self._key, ensure_ascii=False)}: "
        return opening + '"' if self._streams else opening

    def _value(self) -> str | None:
        value, found, rest = self._held.partition(self._tags.value_end.strip())
        if not found and not self._streams:
            return None
        if not found:  # all of the text that cannot be a part of its end
            end = self._tags.value_end
            part, self._held = _without_start(self._held, {end, end.strip()})
            return _escaped(part) or None
        if self._tags.value_end.startswith("\n"):
            value = value.removesuffix("\n")
        self._held, self.quoted = rest, False
        return f'{_escaped(value)}"' if self._streams else as_json(value, self._types)


def _without_start(text: str, marks: set[str]) -> tuple[str, str]:
    """A text that goes on: what no mark can begin in, and its end, where one may."""
    keep = max((n for mark in marks for n in range(1, len(mark)) if text.endswith(mark[:n])), default=0)
    return text[: len(text) - keep], text[len(text) - keep :]


def types_of(schema: Mapping[str, Any], key: str) -> set[str] | None:
    """Which types of JSON an argument may have; None where its schema does not tell."""
    described = (schema.get("properties") or {}).get(key)
    ways = described.get("anyOf", [described]) if isinstance(described, Mapping) else []
    types = set[str]()
    for way in ways:
        if not isinstance(way, Mapping):
            return None
        values = way.get("enum", [way["const"]] if "const" in way else [])
        kind = way.get("type", "string" if values and all(isinstance(v, str) for v in values) else None)
        if kind is None:
            return None
        types |= {kind} if isinstance(kind, str) else set(kind)
    return types or None


def as_json(text: str, types: set[str] | None) -> str:
    """A value as it was written: JSON, unless only a text can be meant."""
    stripped = _PYTHON.get(text.strip(), text.strip())
    try:
        value = json.loads(stripped)
    except ValueError:
        return json.dumps(text, ensure_ascii=False)
    if isinstance(value, str) and types is not None and "string" in types:
        return json.dumps(text, ensure_ascii=False)
    if types is not None and "string" in types and not _KINDS.get(type(value), {"null"}) & types:
        return json.dumps(text, ensure_ascii=False)
    return json.dumps(value, ensure_ascii=False)


def _escaped(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]
