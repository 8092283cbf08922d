"""The commands over the bundled pair, as a user runs them: nothing scripted, nothing from a hub."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from specdec.cli import app


def test_plain_and_speculative_say_the_same() -> None:
    done = CliRunner().invoke(app, ["generate", "--compare", "--json", "--max-tokens", "40"])
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert result["identical"] is True
    assert result["speculative"]["stats"]["accepted"] > 0
    assert result["plain"]["stats"]["drafted"] == 0


def test_in_a_process_of_its_own() -> None:
    command = [sys.executable, "-m", "specdec", "generate", "Tell me about a fox.", "--max-tokens", "8"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert len(done.stdout.split()) >= 3
    assert done.stderr.startswith("8 tokens · "), "nothing but the figures beside the answer"


def test_info() -> None:
    done = CliRunner().invoke(app, ["info", "--json"])
    info = json.loads(done.stdout)
    assert (info["target"], info["chat_template"], info["speculation_unavailable"]) == ("bundled", True, None)


def test_info_before_anything_is_loaded() -> None:
    done = CliRunner().invoke(app, ["info", "--dry-run", "--device", "cpu", "--context", "100", "--json"])
    needs = json.loads(done.stdout)["float32"]
    assert needs["total"] == needs["weights"] + needs["cache"]
    assert 50 * 2**20 < needs["weights"] < 100 * 2**20


def test_info_of_a_gpu_that_is_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    needs = json.loads(CliRunner().invoke(app, ["info", "--dry-run", "--json"]).stdout)
    assert needs["float32"]["weights"] > 2 * needs["on a GPU: bfloat16"]["weights"] > 0


def test_warm() -> None:
    done = CliRunner().invoke(app, ["warm", "--device", "cpu"])
    assert "bundled was ready in" in done.stdout
    assert "on a cpu nothing is compiled" in done.stdout


def test_what_long_prompts_cost() -> None:
    arguments = ["bench", "--serving", "--prompt-tokens", "90", "60", "--max-tokens", "3", "--repeats", "1", "--json"]
    cost, other = json.loads(CliRunner().invoke(app, arguments).stdout)["long_prompts"]
    assert (cost["tokens"], other["tokens"]) == (90, 60)
    assert cost["ttft_beside"] > 0


def test_refusals_of_the_engine_are_one_line() -> None:
    done = CliRunner().invoke(app, ["generate", "a " * 3000])
    assert done.exit_code == 2
    said = done.stderr.splitlines()[-1]
    assert said.startswith("error: prompt is too long: 3009 tokens; expected at most 2047 tokens")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--target", "./nowhere"], "nowhere"),
        (["--target", "someone/something"], "someone/something"),
        (["--device", "cuda:77"], "cuda:77"),
        (["--context", "999999"], "context is 999999; expected at most 2048"),
        (["--dtype", "int4"], "dtype is 'int4'; expected auto, float32, bfloat16 or float16"),
    ],
)
def test_what_cannot_be_loaded_is_one_line(arguments: list[str], said: str) -> None:
    done = CliRunner().invoke(app, ["generate", "Hello", *arguments])
    assert done.exit_code == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert said in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_figure_is_measured() -> None:
    options = ["bench", "--peers", "--json", "--repeats", "1", "--max-tokens", "16", "--category", "chat"]
    done = CliRunner().invoke(app, options)
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert len(report["figures"]) == 9
    equal = next(f for f in report["figures"] if "equal" in f["name"])
    assert equal["value"] == 1.0
    assert {(r["rule"], r["temperature"]) for r in report["accept_rules"]} == {
        (rule, t) for rule in ("coupled", "rejection") for t in (0.8, 1.0)
    }


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("rule", ["coupled", "rejection"])
def test_verify_passes(rule: str) -> None:
    done = CliRunner().invoke(app, ["verify", "--accept-rule", rule, "--trials", "200", "--json"])
    assert done.exit_code == 0, done.output
    assert {c["verdict"] for c in json.loads(done.stdout)["checks"]} == {"pass"}


def test_quantize(tmp_path: Path) -> None:
    said = tmp_path / "said.txt"
    said.write_text("Once upon a time there was a fox. " * 20)
    folder = tmp_path / "there"
    options = ["--text", str(said), "--tokens", "64", "--json"]
    done = CliRunner().invoke(app, ["quantize", "bundled", str(folder), "--text", str(tmp_path / "none.txt")])
    assert done.exit_code == 2 and not folder.exists(), "the text is read before anything is written"
    (empty := tmp_path / "empty.txt").touch()
    done = CliRunner().invoke(app, ["quantize", "bundled", str(folder), "--text", str(empty)])
    assert "expected a file of two tokens at least" in done.output and not folder.exists()
    done = CliRunner().invoke(app, ["quantize", "bundled", str(folder), *options])
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert result["bytes_after"] < 0.7 * result["bytes_before"]
    assert result["tokens"] == 64
    assert result["perplexity_after"] == pytest.approx(result["perplexity_before"], rel=0.2)
    assert result["perplexity_after"] != result["perplexity_before"]


def test_quantize_what_the_device_does_not_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is written all the same, and what can be measured is said."""
    monkeypatch.setattr("specdec.models.memory.free_bytes", lambda _: 2**26)
    done = CliRunner().invoke(app, ["quantize", "bundled", str(tmp_path / "there"), "--tokens", "8"])
    assert done.exit_code == 0, done.output
    assert "not measured: " in done.output and "would fit" in done.output
    assert re.search(r"perplexity  not measured before, [\d.]+ after, on 8 tokens", done.output)
