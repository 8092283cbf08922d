"""What is shipped: packages whose types their users' checkers may read."""

from __future__ import annotations

import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PACKAGES: list[str] = PROJECT["tool"]["importlinter"]["root_packages"]
SHIPPED = [ROOT / folder for folder in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_is_shipped_with_its_types(package: str) -> None:
    spec = find_spec(package)
    assert spec is not None and spec.origin is not None
    folder = Path(spec.origin).parent
    assert (folder / "py.typed").is_file()
    assert any(folder.is_relative_to(shipped) for shipped in SHIPPED), folder
