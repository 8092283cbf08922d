"""How families of chat templates have their models write tool calls and reasoning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from specdec.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class Family:
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


FAMILIES: Mapping[str, Family] = {
    family.name: family
    for family in (
        Family(
            "hermes",
            "<tool_call>",
            "\n",
            "\n</tool_call>\n<tool_call>\n",
            "\n</tool_call>",
            end="</tool_call>",
        ),
        Family("llama3", "", "", None, "", arguments="parameters"),
        Family("mistral", "[TOOL_CALLS]", " [", ", ", "]", short_ids=True),
    )
}
_SIGNS = {"hermes": ("<tool_call>",), "mistral": ("[TOOL_CALLS]",), "llama3": ("ipython", '"parameters"')}
_FOREIGN = ("<function=", "[ARGS]")
"""Signs of calls that are not written as one JSON object."""
_THOUGHTS = (("<think>", "</think>"), ("[THINK]", "[/THINK]"))
PYTHON_TAG = "<|python_tag|>"
"""Llama 3 may write it before a call."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a checkpoint writes its answers. `ids` are the marks that are tokens of their own; the others are text."""

    family: Family | None = None
    thought: tuple[str, str] | None = None
    """The marks around reasoning."""
    ids: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, template: str, tokens: Mapping[str, int]) -> Dialect:
        """`name` is "auto" (as the chat template shows), "none" or a family; `tokens` are the added ones."""
        family = _family(name, template)
        thought = next((marks for marks in _THOUGHTS if all(mark in template for mark in marks)), None)
        wanted = [*(thought or ()), *((family.begin, family.end, PYTHON_TAG) if family else ())]
        return cls(family, thought, {mark: tokens[mark] for mark in wanted if mark in tokens})

    def opened(self, prompt: str) -> bool:
        """Whether the prompt ends inside a thought, as some templates have it."""
        return self.thought is not None and prompt.rstrip().endswith(self.thought[0])


def _family(name: str, template: str) -> Family | None:
    if name not in ("auto", "none", *FAMILIES):
        raise InvalidRequest("tool_format", name, "auto, none, " + " or ".join(FAMILIES))
    if name != "auto":
        return FAMILIES.get(name)
    if any(sign in template for sign in _FOREIGN):
        return None
    found = (family for family, signs in _SIGNS.items() if all(sign in template for sign in signs))
    return FAMILIES.get(next(found, "none"))
