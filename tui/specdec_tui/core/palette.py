"""The colours that the first paint and the themes share."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Palette:
    """As #rrggbb."""

    background: str
    panel: str
    foreground: str
    muted: str
    primary: str
    border: str


DARK = Palette("#12141c", "#222637", "#d7dae5", "#8f93a2", "#7aa2f7", "#3a4160")
LIGHT = Palette("#fbfbf9", "#e6e7e3", "#22252e", "#6d6f78", "#2f5bd0", "#b9bdc9")


def palette(theme: str) -> Palette:
    return LIGHT if theme.startswith("light") else DARK
