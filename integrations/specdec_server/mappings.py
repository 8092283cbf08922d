"""What a field of a client's becomes among those that the schemas know.

Each function changes a parsed body that nothing was checked of yet: where a value is not of the kind it should be, it
stays for the schema to refuse. `holder[key]` is the field, `body` all of it. What of a field has no meaning here is
returned by name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from specdec.errors import InvalidRequest

JSON = dict[str, Any]
FieldMapping = Callable[[JSON, JSON, str], Iterable[str]]

_SWITCHES = {"disabled": False} | dict.fromkeys(("enabled", "adaptive", "auto", "between_tools"), True)
_CHOICES = {"auto": "auto", "none": "none", "required": "required", "any": "required"}


def whole_number(body: JSON, holder: JSON, key: str) -> Iterable[str]:  # noqa: ARG001
    """100.0 is a whole number, as languages without such numbers write it."""
    value = holder[key]
    if isinstance(value, float) and value.is_integer():
        holder[key] = int(value)
    return ()


def length(body: JSON, holder: JSON, key: str) -> Iterable[str]:
    """-1 sets no bound."""
    whole_number(body, holder, key)
    if holder[key] == -1:
        holder[key] = None
    return ()


def top_k(body: JSON, holder: JSON, key: str) -> Iterable[str]:
    """-1 is vLLM's and llama.cpp's way to say off."""
    whole_number(body, holder, key)
    if holder[key] == -1:
        holder[key] = 0
    return ()


def renamed(name: str) -> FieldMapping:
    """The field is called `name` here."""
    return lambda _, holder, key: _move(holder, key, holder, name)


def moved(name: str) -> FieldMapping:
    """The field is the body's own, called `name` here."""
    return lambda body, holder, key: _move(holder, key, body, name)


def _move(holder: JSON, key: str, to: JSON, name: str) -> Iterable[str]:
    value = holder.pop(key)
    if value is not None:
        if to.get(name) not in (None, value):
            raise InvalidRequest(key, None, f"the same as {name}, or none beside it")
        to[name] = value
    return ()


def truncation(body: JSON, holder: JSON, key: str) -> Iterable[str]:  # noqa: ARG001
    if holder[key] == "auto":
        holder[key] = "disabled"
    return ()


def schema_of_format(body: JSON, holder: JSON, key: str) -> Iterable[str]:  # noqa: ARG001
    """llama.cpp's and older servers' form of a JSON schema."""
    if holder.get("type") == "json_object":
        holder |= {"type": "json_schema", "json_schema": {"name": "schema", "schema": holder.pop(key)}}
    return ()


def switch(body: JSON, holder: JSON, key: str) -> Iterable[str]:
    """Thinking on or off: true or false, a word for it, an effort, or an object of which all else was mapped."""
    value = holder.pop(key)
    if isinstance(value, str) and value not in _SWITCHES:
        body["reasoning_effort"] = value
    elif isinstance(value, str | bool):
        body["enable_thinking"] = _SWITCHES[value] if isinstance(value, str) else value
    elif value:
        holder[key] = value
    return ()


def own_tools(own: str) -> FieldMapping:
    """Tools of another type than `own` are such as a service runs: they are skipped, and named."""

    def skip(body: JSON, holder: JSON, key: str) -> Iterable[str]:  # noqa: ARG001
        if not isinstance(holder[key], list):
            return ()
        kept, skipped = list[Any](), list[str]()
        for tool in holder[key]:
            kind = tool.get("type") if isinstance(tool, dict) else None
            if not isinstance(kind, str) or kind == own:
                kept.append(tool)
            else:  # what a client writes must not become a header as it is
                skipped.append(f"tools.{kind}" if re.fullmatch(r"\w{1,40}", kind, re.ASCII) else "tools.other")
        holder[key] = kept
        return skipped

    return skip


def tool_choice(*, nested: bool) -> FieldMapping:
    """All forms that there are of it; `nested`: a tool is named as in a chat."""

    def choose(body: JSON, holder: JSON, key: str) -> Iterable[str]:
        choice = holder[key]
        if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
            choice = _allowed(body, choice)
        kind = choice.get("type") if isinstance(choice, dict) else choice
        if isinstance(kind, str) and kind in _CHOICES:
            holder[key] = _CHOICES[kind]
        elif kind in ("function", "tool") and isinstance(name := _tool_name(choice), str):
            holder[key] = {"type": "function"} | ({"function": {"name": name}} if nested else {"name": name})
        return ()

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


def arguments(body: JSON, holder: JSON, key: str) -> Iterable[str]:  # noqa: ARG001
    """An object is as good as its text; null is an empty one."""
    if holder[key] is None or isinstance(holder[key], dict):
        holder[key] = json.dumps(holder[key] or {}, ensure_ascii=False)
    return ()


def refusal_part(body: JSON, holder: JSON, key: str) -> Iterable[str]:  # noqa: ARG001
    """What a hosted model would not say is text that it said."""
    if holder.get("type") == "refusal":
        holder |= {"type": "text", "text": holder.pop(key)}
    return ()


def reasoning_details(body: JSON, holder: JSON, key: str) -> Iterable[str]:  # noqa: ARG001
    """OpenRouter's form: texts, summaries, and what only its maker can read."""
    details = holder.pop(key)
    parts = [detail for detail in details if isinstance(detail, Mapping)] if isinstance(details, list) else []
    texts = [text for part in parts if isinstance(text := part.get("text") or part.get("summary"), str)]
    if texts and not holder.get("reasoning_content"):
        holder["reasoning_content"] = "".join(texts)
    return ()


def history(body: JSON, holder: JSON, key: str) -> Iterable[str]:  # noqa: ARG001
    """Content that is null, and ids that are: results answer the calls before them in order."""
    waiting = list[str]()
    for number, message in enumerate(holder[key] if isinstance(holder[key], list) else ()):
        role = message.get("role") if isinstance(message, dict) else None
        if role in ("assistant", "tool") and message.get("content") is None and not message.get("tool_calls"):
            message["content"] = ""
        if role == "assistant":
            waiting = _call_ids(message.get("tool_calls"), number)
        elif role == "tool" and waiting:
            if not message.get("tool_call_id"):
                message["tool_call_id"] = waiting.pop(0)
            elif message["tool_call_id"] in waiting:
                waiting.remove(message["tool_call_id"])
    return ()


def _call_ids(calls: Any, number: int) -> list[str]:
    """The ids of a message's calls, made where there are none: nine letters and digits, as Mistral's templates want."""
    found = [call for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []
    for index, call in enumerate(found):
        call["id"] = call.get("id") or f"call{number % 1000:03}{index % 100:02}"
    return [call["id"] for call in found]
