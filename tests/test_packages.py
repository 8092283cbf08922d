"""What is shipped: packages whose types their users' checkers may read."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

import pytest

import specdec
from specdec.errors import DISTRIBUTION

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PACKAGES: list[str] = PROJECT["tool"]["importlinter"]["root_packages"]
SHIPPED = [ROOT / folder for folder in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]]
DOCUMENTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
DISTRIBUTIONS = {
    path.parent.name: tomllib.loads(path.read_text("utf-8"))["project"]
    for path in ROOT.glob("integrations/distributions/*/pyproject.toml")
}
_EXTRA = re.compile(r"pip install[^`\n]*?['\" ]([\w-]+)\[")


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_is_shipped_with_its_types(package: str) -> None:
    spec = find_spec(package)
    assert spec is not None and spec.origin is not None
    folder = Path(spec.origin).parent
    assert (folder / "py.typed").is_file()
    assert any(folder.is_relative_to(shipped) for shipped in SHIPPED), folder


@pytest.mark.parametrize("extra", ["gguf", "embeddings"])
def test_an_extra_that_computes_here_is_enough_alone(extra: str) -> None:
    assert f"{DISTRIBUTION}[local]" in PROJECT["project"]["optional-dependencies"][extra]


def test_nobody_is_told_to_install_another_project() -> None:
    """`specdec` on PyPI is not ours."""
    kinds = (".py", ".md", ".toml", ".service", ".yml", ".yaml", "")
    for path in _tracked():
        if path.suffix in kinds and path.is_file() and "log" not in path.parts:
            text = path.read_text("utf-8", errors="ignore")
            assert "specdec" not in _EXTRA.findall(text), path
            assert not re.search(r"pip install ['\"]?specdec(?![-\w])", text), path


def test_the_version_is_one() -> None:
    assert PROJECT["project"]["version"] == specdec.__version__
    assert PROJECT["project"]["name"] == DISTRIBUTION
    for document in ("CHANGELOG.md", "CITATION.cff"):
        assert specdec.__version__ in (ROOT / document).read_text("utf-8"), document


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_names_of_other_ecosystems_stand_for_this_version(name: str) -> None:
    """They have no module of their own: whoever installs one gets ours, with what it needs."""
    project = DISTRIBUTIONS[name]
    assert (project["name"], project["version"]) == (name, specdec.__version__)
    extras = PROJECT["project"]["optional-dependencies"]
    optional = project["optional-dependencies"].values()
    for wanted in chain(project["dependencies"], *optional):
        distribution, extra, version = re.split(r"[\[\]]+", wanted)
        assert (distribution, version) == (DISTRIBUTION, f"=={specdec.__version__}")
        assert extra in extras


def test_an_index_shows_no_link_that_leads_nowhere() -> None:
    shown = _shown(ROOT)
    assert not re.search(r"\]\((?!https?:)", shown) and "![" not in shown
    assert "urls" not in PROJECT["project"]


def test_a_build_that_knows_the_public_address_leads_there(tmp_path: Path) -> None:
    address = "https://example.org/somebody/specdec"
    subprocess.run([sys.executable, ROOT / ".ci" / "addressed.py", address, tmp_path], check=True)
    for project in (".", *(f"integrations/distributions/{name}" for name in DISTRIBUTIONS)):
        told = tomllib.loads((tmp_path / project / "pyproject.toml").read_text("utf-8"))["project"]["urls"]
        assert told.keys() == {"Homepage", "Documentation", "Issues", "Changelog", "Source"}
        assert all(url.startswith(address) for url in told.values())
    links = re.findall(r"\]\(((?!https?:).*?)\)", (ROOT / "README.md").read_text("utf-8"))
    picture, *pages = links
    shown = re.findall(rf"\]\({address}/(.*?)\)", _shown(tmp_path))
    tag = f"v{specdec.__version__}"
    assert shown == [f"raw/{tag}/{picture}", *(f"blob/{tag}/{page}" for page in pages)]


def _shown(folder: Path) -> str:
    """README as the build changes it for an index."""
    text = (folder / "README.md").read_text("utf-8")
    project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))
    for rule in project["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]["substitutions"]:
        text = re.sub(rule["pattern"], rule["replacement"], text)
    return text


def _tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / line for line in listed.stdout.splitlines()]
