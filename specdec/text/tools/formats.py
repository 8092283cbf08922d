"""How chat templates have their models write tool calls and reasoning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from specdec.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class ToolFormat:
    """One way to write calls: `begin before CALL (between CALL)* after`, where a CALL is a JSON object of a name and
    `arguments`. Nothing but text and reasoning goes before, and nothing follows."""

    name: str
    begin: str
    """The mark that turns text into calls; "" where an answer that starts with a brace is one."""
    before: str
    between: str | None
    """None where an answer holds one call at most."""
    after: str
    end: str = ""
    """The mark behind a call, within `between` and `after`."""
    arguments: str = "arguments"
    short_ids: bool = False
    """The template takes call ids of nine letters and digits only."""


_HERMES_END = "</tool_call>"
TOOL_FORMATS: Mapping[str, ToolFormat] = {
    "hermes": ToolFormat(
        "hermes", "<tool_call>", "\n", f"\n{_HERMES_END}\n<tool_call>\n", f"\n{_HERMES_END}", end=_HERMES_END
    ),
    "llama3": ToolFormat("llama3", "", "", None, "", arguments="parameters"),
    "mistral": ToolFormat("mistral", "[TOOL_CALLS]", " [", ", ", "]", short_ids=True),
}
_SIGNS = {"hermes": ("<tool_call>",), "mistral": ("[TOOL_CALLS]",), "llama3": ("ipython", '"parameters"')}
_FOREIGN = ("<function=", "[ARGS]")
"""Signs of calls that are not written as one JSON object."""
_THOUGHTS = (("<think>", "</think>"), ("[THINK]", "[/THINK]"))
Thought = Literal["none", "possible", "open"]
"""Where an answer starts: without a thought, maybe with one, or inside one."""
PYTHON_TAG = "<|python_tag|>"
"""Llama 3 may write it before a call."""


@dataclass(frozen=True, slots=True)
class AnswerFormat:
    """How a checkpoint writes its answers. `ids` are the marks that are tokens of their own; the others are text."""

    tools: ToolFormat | None = None
    thought: tuple[str, str] | None = None
    """The marks around reasoning."""
    ids: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, template: str, tokens: Mapping[str, int]) -> AnswerFormat:
        """`name` is "auto" (as the chat template shows), "none" or a tool format; `tokens` are the added ones."""
        if name not in ("auto", "none", *TOOL_FORMATS):
            raise InvalidRequest("tool_format", name, "auto, none, " + " or ".join(TOOL_FORMATS))
        if name == "auto" and not any(sign in template for sign in _FOREIGN):
            name = next((name for name, signs in _SIGNS.items() if all(sign in template for sign in signs)), name)
        tools = TOOL_FORMATS.get(name)
        thought = next((marks for marks in _THOUGHTS if all(mark in template for mark in marks)), None)
        wanted = [*(thought or ()), *((tools.begin, tools.end, PYTHON_TAG) if tools else ())]
        return cls(tools, thought, {mark: tokens[mark] for mark in wanted if mark in tokens})

    def thought_behind(self, prompt: str) -> Thought:
        """Some templates end a prompt inside a thought, or behind an empty one."""
        begin, end = self.thought or ("", "")
        if self.thought is None or prompt.rstrip().endswith(end):
            return "none"
        return "open" if prompt.rstrip().endswith(begin) else "possible"
