"""The endpoint's clients, run against it: Python, curl and JavaScript."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes import SCRIPT, ScriptedEngine
from tests.specdec_server.live import live

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture
def url() -> Iterator[str]:
    with live(ScriptedEngine()) as server:
        yield f"http://127.0.0.1:{server.port}/v1"


def _said(*command: str, needs: str) -> str:
    if not shutil.which(needs):
        pytest.skip(f"{needs} is not here")
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def test_python(url: str) -> None:
    assert (
        _said(sys.executable, str(EXAMPLES / "endpoint.py"), "--url", url, needs=sys.executable)
        == "".join(SCRIPT) + "\n"
    )


def test_javascript(url: str) -> None:
    assert _said("node", str(EXAMPLES / "endpoint.mjs"), url, needs="node") == "".join(SCRIPT) + "\n"


def test_curl(url: str) -> None:
    said = _said("sh", str(EXAMPLES / "endpoint.sh"), url, needs="curl")
    assert "".join(re.findall(r'"content": ?"([^"]*)"', said)) == "".join(SCRIPT)
    assert said.rstrip().endswith("data: [DONE]")
