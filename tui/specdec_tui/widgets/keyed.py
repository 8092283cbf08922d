"""A widget whose most useful keys stand in the last line while it has the focus."""

from __future__ import annotations

from typing import ClassVar


class Keyed:
    """Goes beside the widget's own base."""

    KEYS: ClassVar[str]
