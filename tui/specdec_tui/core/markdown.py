"""How an answer's Markdown is read: what a model writes literally is shown literally."""

from __future__ import annotations

from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline

_MATH = {"\\[": "\\]", "\\(": "\\)"}


def parser() -> MarkdownIt:
    """GitHub's Markdown, in which tags are text and LaTeX stays as it was written."""
    found = MarkdownIt("gfm-like", {"html": False})
    found.inline.ruler.before("escape", "math", _math)
    return found


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
