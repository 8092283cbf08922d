"""Colours. The tokens' are variables of each theme, so that a theme for colour-blind eyes changes them alone."""

from __future__ import annotations

from textual.theme import Theme

from specdec_tui.core.palette import DARK, LIGHT, Palette

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


def _theme(name: str, palette: Palette, tokens: dict[str, str]) -> Theme:
    dark = palette is DARK
    return Theme(
        name=name,
        primary=palette.primary,
        secondary="#bb9af7" if dark else "#7a3fc0",
        accent="#7ddf9a" if dark else "#0f7a3d",
        foreground=palette.foreground,
        background=palette.background,
        surface="#181b26" if dark else "#f2f2ee",
        panel=palette.panel,
        success=tokens["accepted"],
        warning=tokens["recovered"],
        error=tokens["rejected"],
        dark=dark,
        variables={
            "footer-key-foreground": palette.primary,
            "border": palette.border,
            "block-cursor-background": palette.primary,
            "block-cursor-foreground": palette.background,
            "input-selection-background": f"{palette.primary} {35 if dark else 25}%",
            **{f"token-{origin}": colour for origin, colour in tokens.items()},
        },
    )


THEMES = (
    _theme("dark", DARK, _DARK_TOKENS),
    _theme("light", LIGHT, _LIGHT_TOKENS),
    _theme("dark-safe", DARK, _SAFE_DARK_TOKENS),
    _theme("light-safe", LIGHT, _SAFE_LIGHT_TOKENS),
)
