"""The arithmetic of `specdec cluster plan`, against figures worked out by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from specdec.cli import app
from specdec.cluster.gpus import GIB, gpu
from specdec.cluster.plan import OVERHEAD, WORKING, plan
from specdec.cluster.shape import ModelShape, shape
from specdec.cluster.spec import Cluster
from specdec.errors import CheckpointCorrupt, CheckpointNotFound, InvalidRequest

BIG = ModelShape("big", 140 * 10**9, layers=80, kv_heads=8, head_dim=128, dtype_bytes=2, context=8192)
SMALL = ModelShape("small", 2 * 10**9, layers=16, kv_heads=8, head_dim=64, dtype_bytes=2, context=8192)


def test_a_token_of_the_cache() -> None:
    assert BIG.kv_bytes == 2 * 80 * 8 * 128 * 2 == 327_680


def test_it_fits_or_not() -> None:
    alone = plan(Cluster("big"), BIG, None, gpu("h100"))
    assert not alone.fits
    assert alone.cached_tokens == 0
    four = plan(Cluster("big", tensor=4), BIG, None, gpu("h100"))
    assert four.fits
    assert four.free == pytest.approx(0.9 * 80 * GIB - WORKING - 35e9)
    assert four.cached_tokens == int(four.free / (327_680 / 4))
    assert four.requests == four.cached_tokens / 8192


def test_more_gpus_than_heads_hold_copies() -> None:
    assert plan(Cluster("big", tensor=16), BIG, None, gpu("h100")).kv_per_token == 327_680 / 8


def test_pipelines_share_the_cache_but_not_the_time() -> None:
    flat, deep = (plan(Cluster("big", tensor=4, pipeline=p), BIG, None, gpu("h100")) for p in (1, 2))
    assert deep.kv_per_token == flat.kv_per_token / 2
    assert deep.round_seconds == flat.round_seconds == 35e9 / 3.35e12


def test_what_pays() -> None:
    drafted = plan(Cluster("big", "small", k=4, tensor=4), BIG, SMALL, gpu("h100"))
    assert drafted.pays_from == pytest.approx(1 + OVERHEAD + 4 * 2 / 140)
    assert drafted.free_rows == int(989e12 / 3.35e12 / 5)
    assert drafted.kv_per_token == (327_680 + 32_768) / 4
    lookup = plan(Cluster("big", "lookup", tensor=4), BIG, None, gpu("h100"))
    assert lookup.pays_from == 1 + OVERHEAD


def test_context_is_needed() -> None:
    with pytest.raises(InvalidRequest, match="context is 0; expected a number of tokens"):
        plan(Cluster("big"), replace(BIG, context=0), None, gpu("h100"))


def test_the_bundled_target() -> None:
    found = shape(Cluster("bundled").folder("target"), "float32")
    assert (found.layers, found.kv_heads, found.head_dim, found.dtype_bytes) == (8, 2, 64, 4)
    assert found.weight_bytes == pytest.approx(2 * 31.4e6, rel=0.01)


def _checkpoint(folder: Path, config: dict[str, Any]) -> str:
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(b"x" * 1000)
    return str(folder)


def test_a_compressed_cache(tmp_path: Path) -> None:
    config = {
        "num_attention_heads": 128,
        "num_hidden_layers": 61,
        "hidden_size": 7168,
        "kv_lora_rank": 512,
        "qk_rope_head_dim": 64,
        "torch_dtype": "bfloat16",
    }
    assert shape(_checkpoint(tmp_path, config), "auto").kv_bytes == 61 * 576 * 2


def test_quantized_weights_stay_as_they_are(tmp_path: Path) -> None:
    config = {
        "num_attention_heads": 2,
        "num_hidden_layers": 1,
        "hidden_size": 8,
        "quantization_config": {"bits": 4},
    }
    assert shape(_checkpoint(tmp_path, config), "float32").weight_bytes == 1000


def test_wrong_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CheckpointCorrupt, match="do not tell the model's shape"):
        shape(str(tmp_path), "auto")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(CheckpointNotFound, match="no folder here"):
        shape(str(tmp_path / "nothing"), "auto")


def test_from_the_command_line(tmp_path: Path) -> None:
    shown = CliRunner().invoke(app, ["cluster", "plan", "--target", "bundled", "--draft", "bundled", "--gpu", "l4"])
    assert shown.exit_code == 0
    for words in ("1 x l4 (24 GiB)", "yes: ", "speculation pays", "above an acceptance length of"):
        assert words in shown.output
    unknown = CliRunner().invoke(app, ["cluster", "plan", "--target", "bundled", "--gpu", "abacus"])
    assert unknown.exit_code == 2
    assert "gpu is 'abacus'; expected one of a100-40" in unknown.output
    small = ["cluster", "plan", "--target", "bundled", "--context", "9000000", "--gpu", "l4", "--json"]
    no = CliRunner().invoke(app, small)
    assert no.exit_code == 1
    assert json.loads(no.output)["fits"] is False
