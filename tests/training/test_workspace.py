"""The folder of a training."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from specdec.errors import InvalidRequest, TrainingFailed
from specdec.models.weights.sources import fingerprint
from specdec.training import TrainingOptions
from specdec.training.answers import Answered, AnswerFile
from specdec.training.workspace import check, claim, replacing


def half_written(file: Path) -> None:
    with replacing(file) as fresh:
        fresh.write_text("half of")
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_leaves_what_was_there(tmp_path: Path) -> None:
    file = tmp_path / "state.pt"
    file.write_text("old")
    with pytest.raises(TrainingFailed, match=r"No space left .* the same command goes on"):
        half_written(file)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("state.pt", "old")]
    with pytest.raises(TrainingFailed, match="could not be written"):
        AnswerFile(tmp_path / "missing" / "answers.jsonl").append(Answered("a", "", (1,), (2, 3)))


def test_a_file_is_on_its_disk_before_it_takes_the_old_ones_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a power cut leaves an empty one."""
    done, sync, replace = list[str](), os.fsync, os.replace

    def syncing(file: int) -> None:
        done.append("synced")
        sync(file)

    def putting(*given: Path) -> None:
        done.append("replaced")
        replace(*given)

    monkeypatch.setattr("os.fsync", syncing)
    monkeypatch.setattr("os.replace", putting)
    with replacing(tmp_path / "state.pt") as fresh:
        fresh.write_text("new")
    assert done == ["synced", "replaced"]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidRequest, match="can be written to"):
        claim(TrainingOptions(target="t", out=tmp_path / "file" / "out"), "weights")


def test_options_that_are_no_options(tmp_path: Path) -> None:
    options = TrainingOptions(target="t", out=tmp_path)
    (tmp_path / "training").mkdir()  # as a full disk leaves it
    check(options)
    file = claim(options, "weights") / "options.json"
    check(options, "weights")
    file.write_text("3")
    with pytest.raises(InvalidRequest, match="can be read"):
        check(options)


def test_a_target_that_was_replaced_since(tmp_path: Path) -> None:
    target, files = tmp_path / "target", {name: bytes(range(256)) * 300 for name in ("a.safetensors", "b.safetensors")}
    target.mkdir()
    for name, content in files.items():
        (target / name).write_bytes(content)
    options = TrainingOptions(target=str(target), out=tmp_path / "out")
    claim(options, fingerprint(target))
    moved = target.rename(tmp_path / "moved")
    check(options, fingerprint(moved))
    (moved / "b.safetensors").write_bytes(files["b.safetensors"][::-1])
    with pytest.raises(InvalidRequest, match=r"another folder: .* has other weights .* --from"):
        check(options, fingerprint(moved))
