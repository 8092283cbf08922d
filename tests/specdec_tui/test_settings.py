from __future__ import annotations

import json

import pytest

from specdec.errors import InvalidRequest
from specdec.types import Grammar, Message
from specdec_tui.core.settings import NAMES, PRESETS, ChatSettings, shown


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("temperature", "0.7", 0.7), ("temp", "0", 0.0), ("top_k", "40", 40), ("k", "3", 3), ("k", "default", "auto"),
        ("stop", "END|\\n\\n", ("END", "\n\n")), ("ignore_eos", "on", True), ("speculative", "off", "off"),
        ("stop_token_ids", "1 2,3", (1, 2, 3)), ("seed", "none", None), ("max_tokens", "", None),
        ("logit_bias", "4=-5, 7=1.5", {4: -5.0, 7: 1.5}),
    ],
)  # fmt: skip
def test_values_as_typed(name: str, text: str, value: object) -> None:
    settings = ChatSettings().with_text(name, text)
    full = {"temp": "temperature", "k": "speculative"}.get(name, name)
    assert settings.value(full) == value


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("temperature", "hot", "temperature is 'hot'; expected a number"),
        ("temperature", "-1", "temperature is -1.0; expected a number from 0 to 100"),
        ("k", "17", "speculative is 17; expected auto, off or a whole number from 0 to 16"),
        ("tempo", "1", "setting is 'tempo'; expected one of"),
        ("seed", "1.5", "a whole number"),
        ("ignore_eos", "maybe", "on or off"),
    ],
)
def test_wrong_values_are_refused_by_name(name: str, text: str, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        ChatSettings().with_text(name, text)


def test_every_value_can_be_typed_and_saved_and_read_again() -> None:
    settings = ChatSettings().with_values({
        "temperature": 0.5, "stop": ("a", "\n"), "logit_bias": {3: 2.0}, "speculative": 4, "ignore_eos": True
    })  # fmt: skip
    again = ChatSettings()
    for name in NAMES:
        again = again.with_text(name, shown(settings.value(name)))
    assert again == settings
    assert ChatSettings().with_values(json.loads(json.dumps(settings.changed()))) == settings


def test_presets_replace_values_and_keep_the_rest() -> None:
    settings = ChatSettings(system="Be brief.").with_text("top_k", "5").preset(PRESETS["precise"])
    sampling = settings.sampling
    assert (sampling.temperature, sampling.top_k, settings.system) == (0.0, None, "Be brief.")
    assert settings.changed() == {"temperature": 0.0}


def test_requests_begin_with_the_system_prompt() -> None:
    settings = ChatSettings(system="Be brief.").with_grammar(Grammar.json_object())
    request = settings.request((Message("user", "hi"),), speculative=2)
    assert [m.role for m in request.prompt if isinstance(m, Message)] == ["system", "user"]
    assert (request.speculative, request.sampling.grammar) == (2, Grammar.json_object())
