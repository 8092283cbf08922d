"""Training: a drafter for one's own target, from what the target itself says. Importing it does not import torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from os import PathLike
from pathlib import Path
from typing import Any

from specdec.bench.prompts import BenchPrompt
from specdec.errors import InvalidRequest, extra
from specdec.training.options import DEFAULT_MINUTES as DEFAULT_MINUTES
from specdec.training.options import Kind as Kind
from specdec.training.options import TrainingOptions as TrainingOptions
from specdec.training.progress import TrainingProgress as TrainingProgress
from specdec.training.progress import TrainingResult as TrainingResult
from specdec.training.progress import TrainingScore as TrainingScore


def train(
    target: str | PathLike[str],
    out: str | PathLike[str],
    *,
    data: Iterable[str | PathLike[str]] = (),
    prompts: Iterable[BenchPrompt] = (),
    ours: bool | None = None,
    report: Callable[[TrainingProgress], None] = lambda _progress: None,
    **options: Any,
) -> TrainingResult:
    """Train a drafter for a target, and write it to the folder `out`, for `load(target, draft=out)`.

    The target answers the prompts itself: those of `data`, files of JSON lines with a prompt, text, question, turns or
    messages field, and `prompts`; `ours`: those that come with us too, by default where there are no others. `options`
    are the fields of TrainingOptions. The same call goes on where an earlier one stopped. `report` hears how it goes.
    Raises InvalidRequest, LoadError, or TrainingFailed for a training that diverges.
    """
    from specdec.training.prompts import read_files

    asked = TrainingOptions(target=str(target), out=Path(out), **options)
    files = [Path(file) for file in data]
    found, skipped = read_files(files)
    if skipped:
        named = "; ".join(map(str, skipped[:3])) + ("; ..." if len(skipped) > 3 else "")
        report(TrainingProgress("loading", note=f"lines skipped: {len(skipped)}; {named}"))
    if files and not found:
        raise InvalidRequest("data", ", ".join(map(str, files)), "a file with prompts")
    with extra("local", "training"):
        from specdec.training.run import run
    given = [*found, *prompts]
    return run(asked, given, report, ours=not given if ours is None else ours)
