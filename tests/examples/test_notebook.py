"""The notebook runs from top to bottom, and its stored outputs are what comes out, but for the figures."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import re
from pathlib import Path
from typing import Any

NOTEBOOK = Path(__file__).parents[2] / "examples" / "first_steps.ipynb"
CELLS = [cell for cell in json.loads(NOTEBOOK.read_text("utf-8"))["cells"] if cell["cell_type"] == "code"]


def _run(source: str, names: dict[str, Any]) -> str:
    """What a cell prints, and the value of its last line."""
    tree, printed = ast.parse(source), io.StringIO()
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    with contextlib.redirect_stdout(printed):
        exec(compile(tree, "cell", "exec"), names)
        value = eval(compile(ast.Expression(last.value), "cell", "eval"), names) if isinstance(last, ast.Expr) else None
    return printed.getvalue() + ("" if value is None else repr(value))


def _stored(cell: dict[str, Any]) -> str:
    return "".join("".join(output.get("text") or output["data"]["text/plain"]) for output in cell["outputs"])


def _without_figures(text: str) -> str:
    return re.sub(r"[\d.]+ (times plain|passes)", r"N \1", text)


def test_it_says_what_it_shows() -> None:
    names: dict[str, Any] = {}
    try:
        for cell in CELLS:
            assert _without_figures(_run("".join(cell["source"]), names)) == _without_figures(_stored(cell))
    finally:
        names["engine"].close()
