"""Defaults from the user's file: whom they are for, what comes before them, what is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Loader, Run
from tests.fakes import ScriptedEngine


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPECDEC_CONFIG", str(tmp_path / "config.toml"))
    return tmp_path / "config.toml"


def test_where_it_is_and_what_it_sets(run: Run, file: Path) -> None:
    missing = run("config")
    assert missing.stdout == f"{file}\n" and "not there yet" in missing.stderr
    file.write_text("max-tokens = 3\n[serve]\nport = 9000\n")
    where, _, content = run("config").stdout.partition("\n")
    assert where == str(file) and json.loads(content) == {"max_tokens": 3, "serve": {"port": 9000}}


def test_for_whom_and_what_comes_before(run: Run, file: Path, loader: Loader) -> None:
    file.write_text('target = "org/mine"\nmax-tokens = 3\n[generate]\nstop = ["x", "y"]\n')
    run("generate", "Hi")
    (request,) = loader.engine.requests
    assert (request.sampling.max_tokens, request.sampling.stop) == (3, ("x", "y"))
    loader.engine = ScriptedEngine()  # the first one is closed
    run("generate", "Hi", "--max-tokens", "5", "--target", "org/other")
    assert loader.engine.requests[-1].sampling.max_tokens == 5
    run("info")
    assert [options.target for options in loader.calls] == ["org/mine", "org/other", "org/mine"]


def test_the_environment_comes_before_it(run: Run, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("[serve]\nhost = '203.0.113.7'\nwithout_key = true\n")
    assert "--host is '203.0.113.7'" in run("serve").output
    monkeypatch.setenv("SPECDEC_HOST", "203.0.113.8")
    assert "--host is '203.0.113.8'" in run("serve").output


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("temprature = 1", "config.toml: temprature is 1; expected an option of models or sampling, or a table"),
        ("[generate]\nport = 1", "config.toml: generate.port is 1; expected an option of specdec generate"),
        ("[generate", "config is "),
        ("[generate]\ntop_p = 'much'", "Invalid value for '--top-p'"),
    ],
)
def test_what_is_wrong_is_an_error_of_every_command(run: Run, file: Path, text: str, error: str) -> None:
    file.write_text(text)
    done = run("generate", "Hi")
    assert done.exit_code == 2 and error in done.output
