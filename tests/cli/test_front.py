"""What a newcomer types first, and what `specdec` says when something is in its place."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import gguf_files
from tests.cli.conftest import Loader, Run
from tests.models import models
from tests.test_packages import PROJECT


def _specdec(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "specdec", *arguments]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)


def test_alone_it_says_what_to_do_first() -> None:
    done = _specdec()
    assert (done.returncode, done.stderr) == (0, "")
    for first in ("specdec generate --compare", "specdec chat", "specdec serve", "specdec doctor", "--target"):
        assert first in done.stdout


def test_version_help_and_a_wrong_word() -> None:
    assert _specdec("--version").stdout == "specdec-engine 0.2.0\n"
    assert "doctor" in _specdec("-h").stdout
    assert "--target" in _specdec("generate", "-h").stdout
    assert "Did you mean 'generate'?" in _specdec("generat").stderr


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("generate --k 3 hi", "No such option: --k (Possible options: --top-k); see specdec generate -h"),
        ("generate --temperature hot hi", "Invalid value for '--temperature': "),
        ("generate --temperature", "Option '--temperature' requires an argument; see specdec generate -h"),
        ("generate --url nowhere hi", "Invalid value for '--url': 'nowhere'; expected an address such as http://"),
        ("cluster show", "Missing option '--target'; see specdec cluster -h"),
        ("models remove owner/none", "model is 'owner/none'; expected "),
    ],
)
def test_a_wrong_word_is_one_line_without_a_box(words: str, error: str) -> None:
    done = _specdec(*words.split())
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {error}")
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is full, of Linux")
@pytest.mark.parametrize(
    ("line", "code", "error"),
    [
        ("plan Qwen/Qwen3-8B --gpu 4090 >/dev/full", 2, "error: No space left on device\n"),
        ("plan Qwen/Qwen3-8B --gpu 4090 >&-", 0, ""),
        ("generate - <&-", 2, "error: prompt is ''; expected at least one character, message or token\n"),
    ],
)
def test_output_that_cannot_be_written_and_ends_that_are_closed(line: str, code: int, error: str) -> None:
    command = f"{sys.executable} -m specdec {line}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, error)


def test_a_wrong_value_of_the_file_with_defaults_is_told_with_its_file(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("temperature = 'hot'")
    done = _specdec("generate", "hi", SPECDEC_CONFIG=str(file))
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {file}: temperature: Invalid value for '--temperature': ")


def test_the_shell_completes_options() -> None:
    asked = {"_SPECDEC_COMPLETE": "complete_bash", "COMP_WORDS": "specdec generate --temp", "COMP_CWORD": "2"}
    assert "--temperature" in _specdec(**asked).stdout


def test_another_project_of_this_name_is_told(tmp_path: Path) -> None:
    info = tmp_path / "specdec-9.9.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: specdec\nVersion: 9.9\n")
    (info / "RECORD").write_text("specdec/__init__.py,,\n")
    (tmp_path / "specdec").mkdir()
    (tmp_path / "specdec" / "__init__.py").touch()  # newer Pythons leave out of `files` what is not there
    path = os.pathsep.join([*sys.path, str(tmp_path)])
    assert _specdec("--version", PYTHONPATH=path).stderr == (
        "specdec 9.9 is installed here too: another project, whose files have the names of ours; "
        "pip uninstall specdec, then install specdec-engine again\n"
    )


def test_what_servers_need_comes_from_the_environment(
    run: Run, loader: Loader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPECDEC_HOST", "0.0.0.0")
    done = run("serve")
    assert "error: --host is '0.0.0.0'; expected a loopback address, or a key" in done.stderr
    monkeypatch.setenv("SPECDEC_TARGET", "someone/else")
    run("info")
    assert loader.calls[0].target == "bundled", "of servers alone"


def test_doctor(run: Run) -> None:
    done = run("doctor", "--json")
    said = json.loads(done.stdout)
    assert done.exit_code == 0 and said["works"] is True
    assert said["self_test"].endswith("the same text")
    assert said["facts"]["local"].startswith("torch ")
    assert PROJECT["project"]["optional-dependencies"].keys() - {"all", "docs", "dev"} <= said["facts"].keys()


def test_doctor_names_what_is_missing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("specdec.cli.doctor._EXTRAS", {"server": ("no-such-distribution",)})
    assert "no: pip install 'specdec-engine[server]'" in run("doctor").stdout


def test_doctor_says_what_fails(run: Run, loader: Loader) -> None:
    loader.engine.close()
    done = run("doctor")
    assert done.exit_code == 1
    assert done.stdout.splitlines()[-1].startswith("FAILS: ")


def test_lines_are_not_broken_where_nobody_sees_them(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    lines = run("doctor").stdout.splitlines()
    assert all(line.split()[0] != line.strip() for line in lines), "each has its name and its value"


def test_models(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "ollama"))
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    broken = tmp_path / "mine" / "broken"
    broken.mkdir(parents=True)
    (broken / "config.json").write_text("{")
    gguf_files.write(
        models.build("qwen3"), tmp_path / "mine" / "Tiny-Q8_0.gguf", lambda name: "F16" if "down" in name else "Q8_0"
    )
    done = run("models", str(tmp_path / "mine"), "--json")
    assert done.exit_code == 0, done.output
    bundled, other, gguf = json.loads(done.stdout)
    assert (bundled["name"], bundled["format"], bundled["runs"]) == ("bundled", "BF16", "fast")
    assert gguf["name"] == str(tmp_path / "mine" / "Tiny-Q8_0.gguf")
    assert (gguf["format"], gguf["runs"], gguf["drafts"]) == ("GGUF Q8_0", "fast", "the text so far")
    assert other["name"] == str(broken)
    assert other["runs"].startswith("no: ")
