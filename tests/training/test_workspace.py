"""The folder of a training."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from specdec.errors import InvalidRequest, TrainingFailed
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


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidRequest, match="can be written to"):
        claim(TrainingOptions(target="t", out=tmp_path / "file" / "out"))


def test_options_that_are_no_options(tmp_path: Path) -> None:
    options = TrainingOptions(target="t", out=tmp_path)
    file = claim(options) / "options.json"
    check(options)
    file.write_text("3")
    with pytest.raises(InvalidRequest, match="can be read"):
        check(options)
