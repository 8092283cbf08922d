"""What a field of a client's becomes among those that the schemas know.

Each function changes a parsed body of which nothing was checked yet: what is not of the kind it should be stays for the
schema to refuse. What of a field has no meaning here is returned by name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from specdec.errors import InvalidRequest

JSON = dict[str, Any]

_SWITCHES = {"disabled": False} | dict.fromkeys(("enabled", "adaptive", "auto", "between_tools"), True)
_CHOICES = {"auto": "auto", "none": "none", "required": "required", "any": "required"}


@dataclass(frozen=True, slots=True)
class FieldPlace:
    """A field: `holder[key]`, somewhere in `body`."""

    body: JSON
    holder: JSON
    key: str
    value: Any
    """What the client sent there."""

    def take(self) -> Any:
        return self.holder.pop(self.key)

    def set(self, value: Any) -> None:
        self.holder[self.key] = value


FieldMapping = Callable[[FieldPlace], Iterable[str] | None]


def whole_number(place: FieldPlace) -> None:
    """100.0 is a whole number, as languages without such numbers write it."""
    if isinstance(place.value, float) and place.value.is_integer():
        place.set(int(place.value))


def instead(given: Any, meant: Any) -> FieldMapping:
    """The value `given` is `meant`."""

    def change(place: FieldPlace) -> None:
        if place.value == given:
            place.set(meant)
        else:
            whole_number(place)

    return change


def renamed(name: str) -> FieldMapping:
    """The field is called `name` here."""
    return lambda place: _move(place, place.holder, name)


def moved(name: str) -> FieldMapping:
    """The field is the body's own, called `name` here."""
    return lambda place: _move(place, place.body, name)


def _move(place: FieldPlace, to: JSON, name: str) -> None:
    value = place.take()
    if value is not None:
        if to.get(name) not in (None, value):
            raise InvalidRequest(place.key, None, f"the same as {name}, or none beside it")
        to[name] = value


def schema_of_format(place: FieldPlace) -> None:
    """llama.cpp's and older servers' form of a JSON schema."""
    if place.holder.get("type") == "json_object":
        place.holder.update(type="json_schema", json_schema={"name": "schema", "schema": place.take()})


def switch(place: FieldPlace) -> None:
    """Thinking on or off: true or false, a word for it, an effort, or an object of which all else was mapped."""
    value = place.take()
    if isinstance(value, str) and value not in _SWITCHES:
        place.body["reasoning_effort"] = value
    elif isinstance(value, str | bool):
        place.body["enable_thinking"] = _SWITCHES[value] if isinstance(value, str) else value
    elif value:
        place.set(value)


def own_tools(own: str) -> FieldMapping:
    """Tools of another type than `own` are such as a service runs: they are skipped, and named."""

    def skip(place: FieldPlace) -> Iterable[str]:
        kept, skipped = list[Any](), list[str]()
        for tool in place.value if isinstance(place.value, list) else ():
            kind = tool.get("type") if isinstance(tool, dict) else None
            if not isinstance(kind, str) or kind == own:
                kept.append(tool)
            else:  # what a client writes must not become a header as it is
                skipped.append(f"tools.{kind}" if re.fullmatch(r"\w{1,40}", kind, re.ASCII) else "tools.other")
        if skipped:
            place.set(kept)
        return skipped

    return skip


def tool_choice(*, nested: bool) -> FieldMapping:
    """All forms that there are of it; `nested`: a tool is named as in a chat."""

    def choose(place: FieldPlace) -> None:
        choice = place.value
        if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
            choice = _allowed(place.body, choice)
        kind = choice.get("type") if isinstance(choice, dict) else choice
        if isinstance(kind, str) and kind in _CHOICES:
            place.set(_CHOICES[kind])
        elif kind in ("function", "tool") and isinstance(name := _tool_name(choice), str):
            place.set({"type": "function"} | ({"function": {"name": name}} if nested else {"name": name}))

    return choose


def _allowed(body: JSON, choice: JSON) -> Any:
    """The choice among some of the tools, which are then the only ones."""
    among = choice.get("allowed_tools", choice)
    if not isinstance(among, dict) or not isinstance(among.get("tools"), list):
        return choice
    names = [_tool_name(tool) for tool in among["tools"]]
    if isinstance(body.get("tools"), list):
        body["tools"] = [tool for tool in body["tools"] if _tool_name(tool) in names]
    return among.get("mode")


def _tool_name(tool: Any) -> Any:
    """Of a tool or of a choice of it, as a chat or as a response has it."""
    function = tool.get("function", tool) if isinstance(tool, dict) else None
    return function.get("name") if isinstance(function, dict) else None


def arguments(place: FieldPlace) -> None:
    """An object is as good as its text; null is an empty one."""
    if place.value is None or isinstance(place.value, dict):
        place.set(json.dumps(place.value or {}, ensure_ascii=False))


def refusal_part(place: FieldPlace) -> None:
    """What a hosted model would not say is text that it said."""
    if place.holder.get("type") == "refusal":
        place.holder.update(type="text", text=place.take())


def reasoning_details(place: FieldPlace) -> None:
    """OpenRouter's form: texts, summaries, and what only its maker can read."""
    details = place.take()
    parts = [detail for detail in details if isinstance(detail, dict)] if isinstance(details, list) else []
    texts = [text for part in parts if isinstance(text := part.get("text") or part.get("summary"), str)]
    if texts and not place.holder.get("reasoning_content"):
        place.holder["reasoning_content"] = "".join(texts)


def history(place: FieldPlace) -> None:
    """Content that is null, and ids that are: results answer the calls before them in order."""
    waiting = list[str]()
    for number, message in enumerate(place.value if isinstance(place.value, list) else ()):
        role = message.get("role") if isinstance(message, dict) else None
        if role in ("assistant", "tool") and message.get("content") is None and not message.get("tool_calls"):
            message["content"] = ""
        if role == "assistant":
            told = message.get("tool_calls")
            calls = [call for call in told if isinstance(call, dict)] if isinstance(told, list) else []
            for index, call in enumerate(calls):  # nine letters and digits, as Mistral's templates want
                call["id"] = call.get("id") or f"call{number % 1000:03}{index % 100:02}"
            waiting = [call["id"] for call in calls]
        elif role == "tool" and waiting:
            if not message.get("tool_call_id"):
                message["tool_call_id"] = waiting.pop(0)
            elif message["tool_call_id"] in waiting:
                waiting.remove(message["tool_call_id"])
