"""Tools as other people's programs show them: other names, other styles of schema, and requests that read like code.

Contract: a renamed tool does the same; a dressed schema allows the same arguments; a request in code holds every
argument.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random

from .phrase import pick
from .sample import Json
from .toolbox import Tool

_NAMES = {
    "get_weather": ("weather", "get_current_weather", "fetch_weather", "weather_lookup", "getWeather", "check_weather"),
    "get_time": ("current_time", "time_in", "getTime", "local_time"),
    "send_message": ("message", "text_person", "sendMessage", "write_message"),
    "calculate": ("calculator", "evaluate", "compute", "math"),
    "search_books": ("find_books", "book_search", "searchBooks"),
    "convert_currency": ("exchange", "convert_money", "currency_converter"),
    "get_order": ("order_status", "track_order", "lookup_order"),
    "create_event": ("add_event", "new_event", "calendar_add"),
    "find_person": ("lookup_contact", "find_contact", "phone_book"),
    "read_file": ("open_file", "cat", "load_file", "readFile"),
    "add_company": ("create_company", "register_company", "new_client", "add_client"),
}
_SLOTS = {
    "city": ("location", "place", "town", "where"), "query": ("q", "search", "topic", "subject"), "to": ("recipient", "receiver", "person"),
    "text": ("content", "message", "body"), "expression": ("expr", "formula", "input", "x"), "minutes": ("duration", "m", "length"),
    "name": ("person", "full_name", "who"), "path": ("file", "filename", "file_path"), "order_id": ("id", "order", "number"),
    "company": ("company_name", "title", "client_name"), "about": ("summary", "details", "note"), "amount": ("value", "sum", "money"),
    "item": ("thing", "entry"), "limit": ("count", "max_results", "n"),
}  # fmt: skip


def renamed(rng: Random, tool: Tool) -> Tool:
    """The tool under another name, with other names for its properties, or as it is."""
    if rng.random() < 0.55:
        return tool
    shown: dict[str, str] = {}
    for slot in tool.shape.slots:
        other = rng.choice(_SLOTS.get(slot.name, (slot.name,)))
        taken = {s.name for s in tool.shape.slots} | set(shown.values())
        if other not in taken and rng.random() < 0.7:
            shown[slot.name] = other
    return replace(tool, name=rng.choice(_NAMES.get(tool.name, (tool.name,))), shown=tuple(shown.items()))


def dressed(rng: Random, schema: Json) -> Json:
    """An OpenAI function schema in the style of some framework."""
    if rng.random() < 0.5:
        return schema
    function = dict(schema["function"])
    told, titled, bound = rng.random() < 0.4, rng.random() < 0.25, rng.random() < 0.3
    slots = {}
    for name, slot in function["parameters"]["properties"].items():
        body = {k: v for k, v in slot.items() if told or k != "description"}
        if titled:
            body = {"title": name.replace("_", " ").title()} | body
        if bound and body["type"] == "integer":
            body |= rng.choice(({"minimum": 0}, {"exclusiveMinimum": -10000, "exclusiveMaximum": 10000}, {"maximum": 100000}))
        if rng.random() < 0.3:
            body = {"type": body.pop("type"), **body} if rng.random() < 0.5 else {**body, "type": body.pop("type")}
        slots[name] = body
    parts = {"properties": slots, "required": function["parameters"]["required"], "type": "object"}
    order = rng.choice((("type", "properties", "required"), ("properties", "required", "type"), ("properties", "type", "required")))
    function["parameters"] = {k: parts[k] for k in order} | ({"additionalProperties": False} if rng.random() < 0.2 else {})
    if rng.random() < 0.15:
        function["description"] = ""
    return {**schema, "function": function}


def _literal(rng: Random, value: object) -> str:
    """A value as a programmer writes it."""
    if isinstance(value, str):
        quote = rng.choice("'\"")
        return f"{quote}{value}{quote}"
    if isinstance(value, bool) and rng.random() < 0.4:
        return str(value).lower()
    return str(value)


def as_code(rng: Random, tool: Tool, args: Json) -> str:
    """A request that writes the call out: "What is the value of size_of(3)?" """
    public = tool.public(args)
    plain = [tool.shown_as(s.name) for s in tool.shape.slots][: len(public)] == list(public)
    if plain and rng.random() < 0.65:
        inside = ", ".join(_literal(rng, v) for v in public.values())
    else:
        inside = rng.choice((", ", ",")).join(f"{k}={_literal(rng, v)}" for k, v in public.items())
    return pick(
        rng,
        "What is [the value of |the result of |the answer of |]{c}?[ Use the tool.| Please use the tool.||]",
        "[Please call|Call|Run|Use|Execute|Try|Invoke] {c}[.|][| Then tell me what it says.]",
        "{c}",
        "What does {c} [give|return|say]?[ Use the tool.|]",
        "[Compute|Work out|Evaluate|Give me|Show me] [the value of |]{c}[ with the tool|].",
        "I [need|want] [the result of |]{c}[, please|].",
        c=f"{tool.name}({inside})",
    )
