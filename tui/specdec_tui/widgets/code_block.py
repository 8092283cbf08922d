"""A fence of Markdown that may grow long: colours its new lines only, and draws only those on the screen."""

from __future__ import annotations

from collections.abc import Callable

from markdown_it.token import Token
from textual.app import ComposeResult
from textual.content import Content
from textual.geometry import Size
from textual.widgets import Markdown
from textual.widgets._markdown import MarkdownBlock, MarkdownFence

from specdec_tui.core.markdown import parser
from specdec_tui.widgets.lines import Lines
from specdec_tui.widgets.steady import Steady
from specdec_tui.widgets.table_block import TableBlock

_BEFORE = 20
"""Lines before the new ones that are read again, so that most of what spans lines is coloured right as it grows."""

Highlight = Callable[[str], Content]


class CodeLines(Lines):
    """Lines of code."""

    DEFAULT_CSS = "CodeLines { width: auto; padding: 1 2; }"

    def __init__(self) -> None:
        super().__init__()
        self._plain: list[str] = []
        self._width = 0

    def show(self, code: str, highlight: Highlight, *, anew: bool = False) -> None:
        """This code. Lines that are the same as before stay; all that follows the first other one is coloured."""
        plain = code.expandtabs(8).splitlines()
        pairs = zip(self._plain, plain, strict=False)  # the last one may still have been half a line
        same = next((i for i, (old, new) in enumerate(pairs) if old != new), min(len(self._plain), len(plain)))
        kept = 0 if anew else same
        begin = max(0, kept - _BEFORE)
        coloured = highlight("\n".join(plain[begin:])).split("\n", allow_blank=True)
        lines = [*self._lines[:kept], *coloured[kept - begin : len(plain) - begin]]
        self._plain = plain
        self._width = max((line.cell_length for line in lines), default=0)
        self.put(lines)

    def get_content_width(self, container: Size, viewport: Size) -> int:  # noqa: ARG002  (Textual's)
        return max(container.width, self._width)


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


_OURS = Markdown.BLOCKS | {"fence": CodeBlock, "code_block": CodeBlock, "table": TableBlock}
_BLOCKS: dict[str, type[MarkdownBlock]] = {n: type(kind.__name__, (Steady, kind), {}) for n, kind in _OURS.items()}


class AnswerMarkdown(Steady, Markdown):
    """Markdown that grows, its fences too."""

    BLANK = True  # else an empty text as tall as the answer would be laid out in every frame
    BLOCKS = _BLOCKS

    def __init__(self, text: str) -> None:
        # what a model links to is never opened unasked
        super().__init__(text, parser_factory=parser, open_links=False)

    def unhandled_token(self, token: Token) -> MarkdownBlock | None:
        """A whole table is one of ours."""
        return self.get_block_class("table")(self, token) if token.type == "table" else None
