"""How an answer's Markdown is read: what a model writes literally is shown literally."""

from __future__ import annotations

from functools import cache

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.rules_block.table import table
from markdown_it.rules_inline import StateInline

_MATH = {"\\[": "\\]", "\\(": "\\)"}


@cache
def parser() -> MarkdownIt:
    """GitHub's Markdown, in which tags are text and LaTeX stays as it was written."""
    found = MarkdownIt("gfm-like", {"html": False})
    found.inline.ruler.before("escape", "math", _math)
    found.block.ruler.at("table", _table, {"alt": ["paragraph", "reference"]})
    return found


def _table(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """A table as one token that holds its cells as they were written. In each frame of an answer that comes, its last
    block is read again: so that costs little, and who shows the cells reads the new ones only."""
    begun = len(state.tokens)
    if not table(state, start, end, silent):
        return False
    if not silent:
        found, inner = state.tokens[begun], state.tokens[begun:]
        found.type, found.nesting = "table", 0
        heads = [token for token in inner if token.type == "th_open"]
        cells = [token.content for token in inner if token.type == "inline"]
        rows = [cells[i : i + len(heads)] for i in range(0, len(cells), len(heads))]
        aligns = [str(token.attrs.get("style", "")).removeprefix("text-align:") or "left" for token in heads]
        found.meta = {"rows": rows, "aligns": aligns, "references": state.env}
        state.tokens[begun:] = [found]
    return True


def _math(state: StateInline, silent: bool) -> bool:
    """`\\[x^2\\]` as it is: elsewhere a backslash before a bracket is taken away, and `_` in it slants."""
    opening = state.src[state.pos : state.pos + 2]
    if opening not in {*_MATH, *_MATH.values()}:
        return False
    closing = _MATH.get(opening, "")
    end = state.src.find(closing, state.pos + 2, state.posMax) if closing else -1
    stop = state.pos + 2 if end < 0 else end + 2
    if not silent:
        state.pending += state.src[state.pos : stop]
    state.pos = stop
    return True
