"""The site of these pages: `make docs`. Sphinx, because it checks every link between pages and reads docstrings."""

from __future__ import annotations

import sys
from pathlib import Path

import specdec

sys.path.insert(0, str(Path(__file__).parent))
from commands import page

(Path(__file__).parent / "commands.md").write_text(page(), "utf-8")

project, author, version = "SpecDec", "The SpecDec maintainers", specdec.__version__
release = version
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"SpecDec {version}"
myst_heading_anchors = 3
myst_links_external_new_tab = True
autodoc_typehints = "description"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": False}
suppress_warnings = ["myst.header"]  # pages that a command writes begin as they do elsewhere too
