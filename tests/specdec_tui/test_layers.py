"""Imports go one way, app to core, and nowhere in a circle; those that only types need count too."""

from __future__ import annotations

import ast
from pathlib import Path

import specdec_tui

ROOT = Path(specdec_tui.__file__).parent
LAYERS = ("core", "widgets", "screens", "commands", "app")


def _modules() -> dict[str, Path]:
    files = {".".join(f.relative_to(ROOT.parent).with_suffix("").parts): f for f in ROOT.rglob("*.py")}
    return {name.removesuffix(".__init__"): file for name, file in files.items()}


def _imports() -> dict[str, set[str]]:
    modules = _modules()
    found: dict[str, set[str]] = {name: set() for name in modules}
    for name, file in modules.items():
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                found[name] |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
            elif isinstance(node, ast.Import):
                found[name] |= {alias.name for alias in node.names}
    return {name: targets & modules.keys() - {name, "specdec_tui"} for name, targets in found.items()}


def test_no_import_goes_up() -> None:
    level = {name: LAYERS.index(part) for name in _modules() for part in name.split(".")[1:2] if part in LAYERS}
    assert set(level.values()) == set(range(len(LAYERS)))
    up = [(a, b) for a, targets in _imports().items() for b in targets if level.get(b, 0) > level.get(a, len(LAYERS))]
    assert not up


def test_no_import_is_in_a_circle() -> None:
    left = _imports()
    assert len(left) > 40
    while ready := [name for name, targets in left.items() if not targets & left.keys()]:
        for name in ready:
            del left[name]
    assert not left


def test_the_core_knows_no_screen() -> None:
    core = [file.read_text("utf-8") for name, file in _modules().items() if name.startswith("specdec_tui.core")]
    assert not [text for text in core if "import textual" in text or "from textual" in text]
