"""`specdec models` and the hub: search, pull, remove, over a hub on this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import huggingface_hub
import pytest

from tests.cli.conftest import Run
from tests.drafters.heads.building import Sizes, head
from tests.hub import NAME, Hub, on_this_machine
from tests.models import models


@pytest.fixture
def our_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with on_this_machine(tmp_path, monkeypatch) as server:
        yield server


def test_a_model_is_pulled_and_removed(run: Run, our_hub: Hub, tmp_path: Path) -> None:
    our_hub.cuts = 1
    done = run("models", "pull", NAME)
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == f"{NAME} is here, 25 MB: specdec chat --target {NAME}\n"
    kept = run("models", "remove", NAME, stdin="n\n")
    assert kept.exit_code == 1
    assert f"remove {NAME}, 25 MB?" in kept.stderr
    assert (tmp_path / "models--owner--model").exists()
    assert run("models", "remove", NAME, "--yes").stderr == f"{NAME} is removed, 25 MB are free\n"
    assert not (tmp_path / "models--owner--model").exists()


def test_a_head_is_no_target_and_published_heads_are_all_named(run: Run, tmp_path: Path) -> None:
    head("dflash of speculators", Sizes(64, 2, 128)).save(tmp_path / "head")
    rows = json.loads(run("models", str(tmp_path), "Qwen/Qwen3-8B", "--json").stdout)
    drafts = {Path(row["name"]).name: row["drafts"] for row in rows}
    assert drafts["head"] == "nothing"
    assert "--fetch-draft: z-lab/" in drafts["Qwen3-8B"] and "; also there is deepseek-ai/" in drafts["Qwen3-8B"]


def test_a_damaged_model_is_said_so_without_its_path(run: Run, tmp_path: Path) -> None:
    models.save(models.build("llama"), tmp_path / "broken")
    (tmp_path / "broken" / "model.safetensors").write_bytes(b"\xff" * 99)
    models.save(models.build("llama"), tmp_path / "adapted")
    (tmp_path / "adapted" / "adapter_config.json").write_text("{}")
    rows = json.loads(run("models", str(tmp_path), "--json").stdout)
    runs = {Path(row["name"]).name: row["runs"] for row in rows}
    assert runs["broken"].startswith("no: model.safetensors is damaged")
    assert "holds an adapter beside its weights" in runs["adapted"]


def test_the_head_that_would_draft_is_named_with_its_kind(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lies there for another target is passed over; a target in the hub's cache has one line."""
    monkeypatch.setattr(huggingface_hub, "scan_cache_dir", partial(huggingface_hub.scan_cache_dir, tmp_path))
    target = tmp_path / "models--owner--Mine" / "snapshots" / "abc"
    models.save(models.build("llama"), target)
    (tmp_path / "models--owner--Mine" / "refs").mkdir()
    (tmp_path / "models--owner--Mine" / "refs" / "main").write_text("abc")
    head("dflash", Sizes(64, 3, 97)).save(target / "a")
    head("eagle3", Sizes(32, 3, 97)).save(target / "b")
    rows = json.loads(run("models", "owner/Mine", "--json").stdout)
    assert [(row["runs"], row["drafts"]) for row in rows if row["name"] == "owner/Mine"] == [
        ("fast", f"{target / 'b'} (head: eagle3) and the text so far")
    ]


def test_ctrl_c_ends_a_pull_in_two_lines(our_hub: Hub) -> None:
    our_hub.held.clear()
    command = [sys.executable, "-m", "specdec", "models", "pull", NAME]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not our_hub.ranges:  # the download waits for its first byte
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)
    assert said == ("", "what came stays; the same command goes on from there\nstopped\n")
    assert process.returncode == 130
    our_hub.held.set()


def test_the_hub_is_searched(our_hub: Hub) -> None:
    command = [sys.executable, "-m", "specdec", "models", "search", "small", "fox"]
    done = subprocess.run(command, env=os.environ, capture_output=True, text=True, check=True)
    assert done.stdout == f"{NAME}  1,234 downloads a month\n"
    assert our_hub.searched == ["small fox"]
    done = subprocess.run([*command, "--json"], env=os.environ, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [{"name": NAME, "downloads": 1234}]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("pull", "pull is ''; expected one name"),
        ("pull bundled", "pull is 'bundled'; expected a hub id such as Qwen/Qwen3-4B"),
        ("pull ollama:llama3.1:8b", "pull is 'ollama:llama3.1:8b'; expected a hub id"),
        ("pull owner/model", "owner/model could not be fetched: "),
        ("search", "search is ''; expected words, as in"),
        ("search fox", "the hub cannot be reached: "),
        ("remove owner/other --yes", "model is 'owner/other'; expected one of the hub's that specdec models lists"),
    ],
)
def test_what_is_wrong_is_one_line(run: Run, words: str, message: str) -> None:
    done = run("models", *words.split())
    assert done.exit_code == 2
    assert done.stderr.startswith(f"error: {message}")
    assert done.stderr.count("\n") == 1
