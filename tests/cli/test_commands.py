"""`specdec info`, `bench` and `verify` as a user sees them."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from specdec.cli.time_left import TimeLeft, time_left
from tests.cli.conftest import Loader, Run
from tests.decoding.toy import toy_engine
from tests.fakes import SCRIPT, SCRIPTED_INFO, ScriptedEngine


def test_info(run: Run) -> None:
    lines = [" ".join(line.split()) for line in run("info").stdout.splitlines()]
    assert lines[:5] == [
        "target scripted (Script, 16.0M parameters)",
        "draft model scripted-draft (1.5M parameters)",
        "drafters lookup, model",
        "accept rule coupled",
        "speculation available",
    ]


def test_info_says_why_there_is_no_speculation(run: Run, loader: Loader) -> None:
    info = replace(SCRIPTED_INFO, draft=None, speculation_unavailable="its state cannot be rolled back")
    loader.engine = ScriptedEngine(info=info)
    assert "off: its state cannot be rolled back" in run("info").stdout


def test_info_json(run: Run) -> None:
    assert json.loads(run("info", "--json").stdout)["vocab_size"] == 1000


def test_help_names_the_commands() -> None:
    done = subprocess.run([sys.executable, "-m", "specdec", "--help"], capture_output=True, text=True, check=True)
    for command in ("generate", "bench", "verify", "info"):
        assert command in done.stdout


def test_bench_table(run: Run, loader: Loader) -> None:
    done = run("bench", "--category", "story", "--repeats", "1", "--temperature", "0", "--max-tokens", "14")
    assert done.exit_code == 0, done.output
    row = done.stdout.splitlines()[-1].split()
    assert row == ["story", "0", "250", "650", "2.60x", "2.60", "100%", "100%", "4/4"]
    assert {r.sampling.temperature for r in loader.engine.requests if r.sampling.max_tokens == 14} == {0}


def test_bench_json(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("one\n\ntwo\n")
    done = run("bench", str(tmp_path / "mine.txt"), "--json", "--temperature", "0.5", "--limit", "1")
    (row,) = json.loads(done.stdout)["rows"]
    assert (row["category"], row["temperature"], row["answers"], row["tokens"]) == (
        "mine",
        0.5,
        3,
        len(SCRIPT),
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--category", "poems"], "--category is 'poems'; expected one of chat, copy, json, story, tools"),
        (["nowhere.txt"], "prompts is 'nowhere.txt'; expected a file of text in UTF-8 that can be read (No such file"),
        (["--temperature", "-1"], "--temperature is -1.0; expected a number from 0 to 100"),
        (["--peers", "--draft", "lookup"], "--draft is 'lookup'; expected a draft model"),
        (["--prompt-tokens", "90"], "--prompt-tokens is 90; expected --serving beside it"),
    ],
)
def test_bench_refuses(run: Run, arguments: list[str], said: str) -> None:
    done = run("bench", *arguments)
    assert done.exit_code == 2
    assert f"error: {said}" in done.stderr


def test_verify_passes_on_a_right_engine(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("specdec.cli.screen.load_engine", lambda *_: toy_engine("near"))
    done = run("verify", "--trials", "100")
    assert done.exit_code == 0, done.output
    header, *lines, last = done.stdout.splitlines()
    assert header == "drafting from model"
    assert {line.split()[0] for line in lines} == {"pass"}
    assert last.startswith(f"lossless as far as shown: {len(lines)} of {len(lines)} checks held, over ")


def test_verify_does_not_pass_in_silence_what_it_could_not_check(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "specdec.cli.screen.load_engine", lambda *_: ScriptedEngine(["Hi"], off_reason="it does not pay")
    )
    done = run("verify", "--trials", "100")
    assert done.exit_code == 3, done.output
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert "not shown greedy text, k=3 accepted 0 of 0 drafted: off: it does not pay" in lines
    assert lines[-1].startswith("nothing was shown, for none of ")


@pytest.mark.parametrize(
    ("seconds", "fraction", "said"),
    [
        (60, 0.01, ""),
        (60, 0.5, "about 60 s left"),
        (60, 0.1, "about 9 min left"),
        (3, 0.9, "about 10 s left"),
    ],
)
def test_time_left(seconds: float, fraction: float, said: str) -> None:
    assert time_left(seconds, fraction) == said


def test_time_left_is_told_now_and_then_where_there_is_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = 0.0
    left = TimeLeft(lambda: now)
    for i in range(100):
        now = float(i)
        left("texts", i / 100)
    assert capsys.readouterr().err.splitlines() == [
        "30% done (texts), about 70 s left",
        "60% done (texts), about 40 s left",
        "90% done (texts), about 10 s left",
    ]


def test_verify_fails_on_a_wrong_one(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = (*SCRIPT[:9], *SCRIPT * 5)
    monkeypatch.setattr(
        "specdec.cli.screen.load_engine", lambda *_: ScriptedEngine(SCRIPT * 6, speculative_script=wrong)
    )
    done = run("verify", "--trials", "100", "--json")
    assert done.exit_code == 1
    assert "fail" in {check["verdict"] for check in json.loads(done.stdout)["checks"]}
