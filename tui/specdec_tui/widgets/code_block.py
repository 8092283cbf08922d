"""A fence of Markdown that may grow long: colours its new lines only, and draws only those on the screen."""

from __future__ import annotations

from collections.abc import Callable

from markdown_it.token import Token
from textual.app import ComposeResult
from textual.content import Content
from textual.geometry import Size
from textual.selection import Selection
from textual.strip import Strip
from textual.style import Style
from textual.visual import Visual
from textual.widget import Widget
from textual.widgets import Markdown
from textual.widgets._markdown import MarkdownBlock, MarkdownFence

from specdec_tui.core.markdown import parser
from specdec_tui.widgets.steady import Steady
from specdec_tui.widgets.table_block import TableBlock

_BEFORE = 40
"""Lines before the new ones that are read again, so that most of what spans lines is coloured right as it grows."""

Highlight = Callable[[str], Content]


class CodeLines(Steady, Widget):
    """Lines of code, drawn one by one."""

    DEFAULT_CSS = "CodeLines { width: auto; height: auto; padding: 1 2; }"

    def __init__(self) -> None:
        super().__init__()
        self._plain: list[str] = []
        self._lines: list[Content] = []
        self._width = 0

    def show(self, code: str, highlight: Highlight, *, anew: bool = False) -> None:
        """This code. Lines that are the same as before stay; all that follows the first other one is coloured."""
        plain = code.expandtabs(8).splitlines()
        pairs = zip(self._plain, plain, strict=False)  # the last one may still have been half a line
        same = next((i for i, (old, new) in enumerate(pairs) if old != new), min(len(self._plain), len(plain)))
        kept = 0 if anew else same
        begin = max(0, kept - _BEFORE)
        coloured = highlight("\n".join(plain[begin:])).split("\n", allow_blank=True)
        self._lines[kept:] = coloured[kept - begin : len(plain) - begin]
        self._plain = plain
        self._width = max((line.cell_length for line in self._lines), default=0)
        self.refresh(layout=True)

    def get_content_width(self, container: Size, viewport: Size) -> int:  # noqa: ARG002  (Textual's)
        return max(container.width, self._width)

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:  # noqa: ARG002  (Textual's)
        return max(1, len(self._lines))

    def render_line(self, y: int) -> Strip:
        width = self.content_size.width
        if y >= len(self._lines):
            return Strip.blank(width, self.rich_style)
        line = self._lines[y]
        if (selection := self.text_selection) and (span := selection.get_span(y)):
            style = Style.from_styles(self.screen.get_component_styles("screen--selection"))
            line = line.stylize(style, span[0], None if span[1] == -1 else span[1])
        # draws it as a Static would: a line's own rendering knows none of the theme's colours
        strip = Visual.to_strips(self, line, width, 1, self.visual_style, apply_selection=False)[0]
        return strip.apply_offsets(0, y)

    def get_selection(self, selection: Selection) -> tuple[str, str] | None:
        return selection.extract("\n".join(self._plain)), "\n"

    def selection_updated(self, selection: Selection | None) -> None:  # noqa: ARG002  (Textual's)
        self.refresh()


class CodeBlock(MarkdownFence):
    """Textual's own colours and draws the whole fence whenever a line is added."""

    def __init__(self, markdown: Markdown, token: Token, code: str) -> None:
        MarkdownBlock.__init__(self, markdown, token)  # not the fence's: it colours at once
        self.code = code
        self.lexer = token.info or "text"
        self.auto_links = False
        self._shown = CodeLines()

    def compose(self) -> ComposeResult:
        yield self._shown

    def on_mount(self) -> None:
        self._shown.show(self.code, self._coloured)

    def notify_style_update(self) -> None:
        """Another theme, other colours."""
        self._shown.show(self.code, self._coloured, anew=True)
        super(MarkdownFence, self).notify_style_update()

    async def _update_from_block(self, block: MarkdownBlock) -> None:
        if not isinstance(block, CodeBlock):
            await super(MarkdownFence, self)._update_from_block(block)
            return
        anew = block.lexer != self.lexer
        self._copy_context(block)
        self._shown.show(self.code, self._coloured, anew=anew)

    def _copy_context(self, block: MarkdownBlock) -> None:
        if isinstance(block, CodeBlock):
            self.code, self.lexer = block.code, block.lexer
        super(MarkdownFence, self)._copy_context(block)

    def _coloured(self, code: str) -> Content:
        app = self.app
        return self.highlight(code, self.lexer, ansi=app.native_ansi_color, dark=app.current_theme.dark)


_OURS = Markdown.BLOCKS | {"fence": CodeBlock, "code_block": CodeBlock, "table_open": TableBlock}
_BLOCKS: dict[str, type[MarkdownBlock]] = {n: type(kind.__name__, (Steady, kind), {}) for n, kind in _OURS.items()}


class AnswerMarkdown(Steady, Markdown):
    """Markdown that grows, its fences too."""

    BLANK = True  # else an empty text as tall as the answer would be laid out in every frame
    BLOCKS = _BLOCKS

    def __init__(self, text: str) -> None:
        # what a model links to is never opened unasked
        super().__init__(text, parser_factory=parser, open_links=False)
