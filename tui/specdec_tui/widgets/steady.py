"""A widget that grows, and is laid out once for it.

Textual lays the whole screen out a second time when what a widget could scroll through has changed its size, and when
a widget was filled before it was mounted. Neither moves anything where a widget is as tall as its content.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from textual.geometry import Region, Size

if TYPE_CHECKING:
    from textual.widget import Widget as Mixed
else:
    Mixed = object  # Textual takes styles from the first of a widget's bases that is a widget


class Steady(Mixed):
    """Goes before the widget that it makes steady."""

    def refresh(self, *regions: Region, repaint: bool = True, layout: bool = False, recompose: bool = False) -> Self:
        layout = layout and self.is_mounted  # mounting lays it out
        return super().refresh(*regions, repaint=repaint, layout=layout, recompose=recompose)

    def _size_updated(self, size: Size, virtual_size: Size, container_size: Size, layout: bool = True) -> bool:
        del layout
        return super()._size_updated(size, virtual_size, container_size, layout=False)
