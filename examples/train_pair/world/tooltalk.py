"""Chats in which tools are offered: called, called twice at once, or rightly left alone.

Contract: every call is valid under the schema that the sample offers, and every string argument stands in the
request. When no tool fits, the answer is in words.
"""

from __future__ import annotations

import json
from random import Random

from .dress import as_code, dressed, renamed
from .phrase import pick, sloppy
from .sample import Json, Message, Sample, say
from .talk import about_self, small_talk
from .toolbox import TOOLS, Tool, arguments, invented_tool, reply, request

SYSTEMS = (
    "You are a helpful assistant.",
    "You are a helpful assistant that can use tools.",
    "You help with small tasks. Call a tool when it fits.",
    "Use the tools when you need them.",
    "You are an assistant. Answer in short sentences.",
    "You are a friendly helper. If no tool fits, answer in words.",
)
NO_TOOL = (
    "I have no tool for that.",
    "I am sorry, none of my tools can do that.",
    "I cannot do that with the tools that I have.",
    "None of the tools fits. I can only help with what they do.",
)


def call(name: str, args: Json) -> Json:
    """A tool call in the shape that chat templates take."""
    return {"type": "function", "function": {"name": name, "arguments": args}}


def calling(calls: list[Json], words: str | None = None) -> Message:
    """An assistant message that calls tools."""
    return {"role": "assistant", "content": words, "tool_calls": calls}


def _tool(rng: Random) -> Tool:
    return renamed(rng, rng.choice(TOOLS)) if rng.random() < 0.5 else invented_tool(rng)


def _ask(rng: Random, tool: Tool, args: Json) -> str:
    """In words, or as code."""
    return as_code(rng, tool, args) if rng.random() < 0.15 else request(rng, tool, args)


def _told(rng: Random, result: Json, answer: str) -> str:
    """What the tool gives back: data, or the words of a program that talks."""
    return answer if rng.random() < 0.2 else json.dumps(result, ensure_ascii=False)


def offered(rng: Random, *needed: Tool) -> list[Tool]:
    """The needed tools among others, in random order, no two of one name or purpose."""
    tools = {t.name: t for t in needed}
    for _ in range(rng.choice((0, 0, 1, 1, 2, 3))):
        other = _tool(rng)
        if other.about not in {t.about for t in tools.values()}:
            tools.setdefault(other.name, other)
    order = list(tools.values())
    rng.shuffle(order)
    return order


def _typed(rng: Random, text: str, args: Json) -> str:
    return sloppy(rng, text, keep=tuple(str(v) for v in args.values()) or ("",))


def _round(rng: Random, tool: Tool) -> tuple[list[Message], tuple[str, ...]]:
    """Request, call, result and answer for one tool."""
    args = arguments(rng, tool)
    result = tool.result(rng, args)
    ask = _typed(rng, _ask(rng, tool, args), args)
    answer = reply(rng, tool, args, result)
    turns = [
        say("user", ask),
        calling([call(tool.name, tool.public(args))]),
        say("tool", _told(rng, result, answer)),
        say("assistant", answer),
    ]
    return turns, tuple(v for v in args.values() if isinstance(v, str) and tool.name != "turn_light")


def _twice(rng: Random, tool: Tool) -> tuple[list[Message], tuple[str, ...]]:
    """One request that needs two calls at once."""
    first, second = arguments(rng, tool), arguments(rng, tool)
    ask = f"{request(rng, tool, first).rstrip('.?')} {pick(rng, 'and', 'and also', 'and then')} {_lower(request(rng, tool, second))}"
    results = [tool.result(rng, a) for a in (first, second)]
    turns = [say("user", ask), calling([call(tool.name, tool.public(a)) for a in (first, second)])]
    turns += [say("tool", json.dumps(r, ensure_ascii=False)) for r in results]
    turns.append(say("assistant", " ".join(reply(rng, tool, a, r) for a, r in zip((first, second), results, strict=True))))
    return turns, tuple(v for a in (first, second) for v in a.values() if isinstance(v, str) and tool.name != "turn_light")


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:] if text[:2] != "I " else text


def _pair(rng: Random, one: Tool, two: Tool) -> tuple[list[Message], tuple[str, ...]]:
    """One request that needs two different tools at once."""
    first, second = arguments(rng, one), arguments(rng, two)
    ask = f"{request(rng, one, first).rstrip('.?')}, and {_lower(request(rng, two, second))}"
    results = [one.result(rng, first), two.result(rng, second)]
    turns = [say("user", ask), calling([call(one.name, one.public(first)), call(two.name, two.public(second))])]
    turns += [say("tool", json.dumps(r, ensure_ascii=False)) for r in results]
    turns.append(say("assistant", f"{reply(rng, one, first, results[0])} {reply(rng, two, second, results[1])}"))
    return turns, ()


def _none(rng: Random, others: list[Tool]) -> list[Message]:
    """A wish that no offered tool can grant, or that needs none."""
    if rng.random() < 0.5:
        task = small_talk(rng) if rng.random() < 0.6 else about_self(rng)
        return task.turns()
    abouts = {t.about for t in others}
    absent = rng.choice([t for t in TOOLS if t.about not in abouts])
    return [say("user", sloppy(rng, request(rng, absent, arguments(rng, absent)), keep=("",))), say("assistant", pick(rng, *NO_TOOL))]


def _list_tools(rng: Random, tools: list[Tool]) -> list[Message]:
    """What can you do here? The tools by name."""
    names = ", ".join(t.name for t in tools)
    ask = pick(rng, "[What|Which] tools do you have?", "Which tools can you use?", "List your tools.")
    return [say("user", sloppy(rng, ask)), say("assistant", pick(rng, "I can use [this tool|these tools]: {n}." if len(tools) > 1 else "I can use {n}.", n=names).replace("this tool", "these tools"))]


def tool_chat(rng: Random) -> Sample:
    """A whole chat with tools."""
    tool = _tool(rng)
    tools, roll = offered(rng, tool), rng.random()
    turns: list[Message]
    quotes: tuple[str, ...] = ()
    if roll < 0.58:
        turns, quotes = _round(rng, tool)
    elif roll < 0.68:
        turns, quotes = _twice(rng, tool)
    elif roll < 0.76:
        two = next((t for t in tools if t.name != tool.name), tool)
        turns, quotes = _pair(rng, tool, two) if two is not tool else _twice(rng, tool)
    elif roll < 0.94:
        turns = _none(rng, tools)
    else:
        turns = _list_tools(rng, tools)
    if rng.random() < 0.25:
        turns += _more(rng, tools)
    head = [say("system", rng.choice(SYSTEMS))] if rng.random() < 0.5 else []
    return Sample("tools", [*head, *turns], [dressed(rng, t.schema()) for t in tools], quotes=quotes)


def _more(rng: Random, tools: list[Tool]) -> list[Message]:
    """A further wish in the same chat."""
    return _round(rng, rng.choice(tools))[0] if rng.random() < 0.7 else small_talk(rng).turns()
