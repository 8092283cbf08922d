"""A template is told of reasoning in the words that it knows."""

from __future__ import annotations

from typing import Any

import pytest

from specdec.errors import InvalidRequest
from specdec.text.reasoning import ReasoningControl
from specdec.types import EFFORTS, Reasoning

SWITCH = "{% generation %}{{ messages }}{% if enable_thinking is false %}<think></think>{% endif %}{% endgeneration %}"
DEFINED = (
    "{% if not thinking is defined %}{% set thinking = false %}{% endif %}{{ '<think>' if thinking else '</think>' }}"
)
EFFORT = "{% set effort = reasoning_effort or 'medium' %}Reasoning: {{ effort }}"
TWO = "{% if reasoning_effort not in ['none', 'high'] %}{{ raise_exception('no') }}{% endif %}"
NAMES = {"switch": SWITCH, "defined": DEFINED, "effort": EFFORT, "two": TWO, "plain": "{{ message.thinking }} thinking"}


@pytest.mark.parametrize(("name", "reasoning", "values"), [
    ("switch", "auto", {}), ("switch", "off", {"enable_thinking": False}), ("switch", "on", {"enable_thinking": True}),
    ("switch", "high", {"enable_thinking": True}), ("defined", "off", {"thinking": False}),
    ("defined", "low", {"thinking": True}),
    ("effort", "low", {"reasoning_effort": "low"}), ("effort", "minimal", {"reasoning_effort": "low"}),
    ("effort", "max", {"reasoning_effort": "high"}), ("effort", "on", {"reasoning_effort": "medium"}),
    ("two", "off", {"reasoning_effort": "none"}), ("two", "low", {"reasoning_effort": "high"}),
    ("plain", "on", {}), ("plain", "high", {}),
])  # fmt: skip
def test_values(name: str, reasoning: Reasoning, values: dict[str, Any]) -> None:
    assert ReasoningControl.of(NAMES[name]).values(reasoning, thinks=True) == values


def test_levels_and_variables() -> None:
    known = {name: ReasoningControl.of(template) for name, template in NAMES.items()}
    assert {name: control.levels for name, control in known.items()} == {
        "switch": ("off", "on"),
        "defined": ("off", "on"),
        "effort": ("low", "medium", "high"),
        "two": ("off", "high"),
        "plain": (),
    }
    assert known["switch"].variables == ("enable_thinking",)
    assert known["plain"].variables == ("message",)


def test_what_cannot_be_turned_off_is_refused() -> None:
    assert ReasoningControl.of(EFFORT).values("off", thinks=False) == {}
    with pytest.raises(InvalidRequest, match="reasoning is 'off'; expected auto or on or low or medium or high"):
        ReasoningControl.of(EFFORT).values("off", thinks=True)


def test_every_effort_is_an_effort_that_the_template_knows() -> None:
    for effort in EFFORTS:
        assert ReasoningControl.of(TWO).values(effort, thinks=True) == {"reasoning_effort": "high"}


def test_a_template_that_cannot_be_read_knows_nothing() -> None:
    assert ReasoningControl.of("{% if %}") == ReasoningControl()
