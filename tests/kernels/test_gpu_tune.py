"""On a GPU: `specdec tune` finds tiles and keeps them, and text stays one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import specdec
from specdec.bench.prompts import built_in
from specdec.bundled import path as bundled
from specdec.cli import app
from specdec.kernels.tiles import cache_file

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]


def test_tunes_and_keeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = CliRunner().invoke(app, ["tune", str(bundled("target"))])
    assert found.exit_code == 0, found.output
    kept = json.loads(cache_file().read_text())[torch.cuda.get_device_name(0)]
    assert len(kept) == len([line for line in found.output.splitlines() if "Tile(" in line]) == 5
    with specdec.load(device="cuda", prefix_cache_bytes=0) as engine:
        for prompt in built_in()[:4]:
            plain, drafted = (
                engine.generate(prompt.messages, max_tokens=64, seed=5, speculative=how).token_ids for how in ("off", 4)
            )
            assert plain == drafted
