"""How a chat template is told to have its model think, more or less, or not at all."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from specdec.errors import InvalidRequest
from specdec.types import EFFORTS, Reasoning

_SWITCHES = ("enable_thinking", "thinking")
"""Variables that are true or false."""
_EFFORT, _NO_EFFORT = "reasoning_effort", "none"
_USUAL: tuple[Reasoning, ...] = ("low", "medium", "high")
"""What templates take that write any effort into the prompt."""
_ANY_TEMPLATE = {"messages", "tools", "documents", "add_generation_prompt"}
_FUNCTIONS = {"raise_exception", "strftime_now", "range", "namespace", "dict", "lipsum", "cycler", "joiner"}


@dataclass(frozen=True, slots=True)
class ReasoningControl:
    """What one template knows of reasoning."""

    variables: tuple[str, ...] = ()
    """That the template reads beside the chat, of reasoning and others."""
    levels: tuple[Reasoning, ...] = ()
    """Those of `Request.reasoning` that it tells apart."""

    @classmethod
    def of(cls, template: str) -> ReasoningControl:
        """By the template's own variables, and the texts that it compares them with."""
        from jinja2 import Environment, TemplateSyntaxError
        from jinja2.meta import find_undeclared_variables
        from jinja2.nodes import Const

        # transformers' own tags around what is trained on mean nothing here
        source = re.sub(r"\{%-?\s*(?:end)?generation\s*-?%\}", "", template)
        try:
            tree = Environment(extensions=["jinja2.ext.loopcontrols"], autoescape=True).parse(source)
        except TemplateSyntaxError:  # whoever sends a chat is told
            return cls()
        texts = {node.value for node in tree.find_all(Const) if isinstance(node.value, str)}
        variables = find_undeclared_variables(tree) - _ANY_TEMPLATE - _FUNCTIONS
        levels: tuple[Reasoning, ...] = ("off", "on") if variables & {*_SWITCHES} else ()
        if _EFFORT in variables:
            named = tuple(effort for effort in EFFORTS if effort in texts)
            off: tuple[Reasoning, ...] = ("off",) if _NO_EFFORT in texts else ()
            levels = tuple(dict.fromkeys((*levels, *off, *(named if len(named) + len(off) > 1 else _USUAL))))
        return cls(tuple(sorted(variables)), levels)

    def values(self, reasoning: Reasoning, *, thinks: bool) -> dict[str, Any]:
        """The template's variables that say so, with their values. An effort that the template does not know is the
        nearest that it does, or nothing; only "off" is refused where a model that `thinks` cannot be kept from it."""
        if reasoning == "auto":
            return {}
        if reasoning == "off" and thinks and "off" not in self.levels:
            expected = " or ".join(("auto", "on", *(level for level in self.levels if level != "on")))
            raise InvalidRequest("reasoning", "off", f"{expected}: this checkpoint's chat template cannot turn it off")
        values: dict[str, Any] = {name: reasoning != "off" for name in _SWITCHES if name in self.variables}
        efforts = [level for level in self.levels if level in EFFORTS]
        if reasoning == "off":
            return values or ({_EFFORT: _NO_EFFORT} if "off" in self.levels else {})
        if efforts:
            wanted = EFFORTS.index("medium" if reasoning == "on" else reasoning)
            values[_EFFORT] = min(efforts, key=lambda effort: abs(EFFORTS.index(effort) - wanted))
        return values
