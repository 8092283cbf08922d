"""Writes the lowest versions that pyproject.toml allows, as pip's constraints: what `make lowest` installs."""  # noqa: INP001

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text("utf-8"))["project"]
extras = {name: wanted for name, wanted in project["optional-dependencies"].items() if name != "dev"}
for requirement in [*project["dependencies"], *(line for wanted in extras.values() for line in wanted)]:
    found = re.match(r"([\w.-]+)>=([\d.]+)", requirement)
    if found and found[1] != "torch":  # gigabytes, and its lowest was tried on GPUs
        sys.stdout.write(f"{found[1]}=={found[2]}\n")
