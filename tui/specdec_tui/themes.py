"""Colours. The tokens' are variables of each theme, so that a theme for colour-blind eyes changes them alone."""

from __future__ import annotations

from dataclasses import replace

from textual.theme import Theme

from specdec_tui.core.palette import DARK, LIGHT

_DARK_TOKENS = {"accepted": "#7ddf9a", "recovered": "#ffb86b", "bonus": "#7cc7ff", "rejected": "#ff7a85"}
_LIGHT_TOKENS = {"accepted": "#0f7a3d", "recovered": "#a85400", "bonus": "#0b62b8", "rejected": "#c01f33"}
# Okabe and Ito's, which stay apart for every common kind of colour blindness.
_SAFE_DARK_TOKENS = {"accepted": "#56b4e9", "recovered": "#e69f00", "bonus": "#f0e442", "rejected": "#cc79a7"}
_SAFE_LIGHT_TOKENS = {
    "accepted": "#0072b2",
    "recovered": "#b35900",
    "bonus": "#007a5a",
    "rejected": "#a8437d",
}


def _theme(name: str, tokens: dict[str, str], base: Theme) -> Theme:
    variables = base.variables | {f"token-{origin}": colour for origin, colour in tokens.items()}
    return replace(
        base, name=name, success=tokens["accepted"], warning=tokens["recovered"], error=tokens["rejected"],
        variables=variables,
    )  # fmt: skip


_DARK = Theme(
    name="dark", primary=DARK.primary, secondary="#bb9af7", accent="#7ddf9a", foreground=DARK.foreground,
    background=DARK.background, surface="#181b26", panel=DARK.panel, dark=True,
    variables={
        "footer-key-foreground": "#7aa2f7", "border": DARK.border, "block-cursor-background": "#7aa2f7",
        "block-cursor-foreground": "#12141c", "input-selection-background": "#7aa2f7 35%",
    },
)  # fmt: skip
_LIGHT = Theme(
    name="light", primary=LIGHT.primary, secondary="#7a3fc0", accent="#0f7a3d", foreground=LIGHT.foreground,
    background=LIGHT.background, surface="#f2f2ee", panel=LIGHT.panel, dark=False,
    variables={
        "footer-key-foreground": "#2f5bd0", "border": LIGHT.border, "block-cursor-background": "#2f5bd0",
        "block-cursor-foreground": "#fbfbf9", "input-selection-background": "#2f5bd0 25%",
    },
)  # fmt: skip

THEMES = (
    _theme("dark", _DARK_TOKENS, _DARK),
    _theme("light", _LIGHT_TOKENS, _LIGHT),
    _theme("dark-safe", _SAFE_DARK_TOKENS, _DARK),
    _theme("light-safe", _SAFE_LIGHT_TOKENS, _LIGHT),
)
