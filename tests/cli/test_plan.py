"""`specdec plan`: known models without a network, folders by their files, and what is said when it does not fit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from specdec.cluster.shape import shape
from tests.cli.conftest import Run

CONFIG = {
    "num_hidden_layers": 36, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
    "hidden_size": 4096, "vocab_size": 151_936, "max_position_embeddings": 40_960, "torch_dtype": "bfloat16",
}  # fmt: skip


def test_a_pair_on_a_card(run: Run) -> None:
    done = run("plan", "Qwen/Qwen3-8B", "--draft", "Qwen/Qwen3-0.6B", "--gpu", "4090", "--json")
    assert done.exit_code == 0
    found = json.loads(done.output)
    assert found["fits"] and found["gpu"]["name"] == "rtx4090"
    assert found["cached_tokens"] == int(found["free"] / found["kv_per_token"])
    assert found["speed_ups"]["3"] == pytest.approx(3 / found["pays_from"])
    assert 50 < 1 / found["round_seconds"] < 70
    text = run("plan", "Qwen/Qwen3-8B", "--draft", "Qwen/Qwen3-0.6B", "--gpu", "RTX 4090").output
    assert "yes: room for" in text and "pays above an acceptance length of 1.4" in text


def test_one_that_does_not_fit(run: Run) -> None:
    done = run("plan", "Qwen/Qwen3-14B", "--gpu", "4090")
    assert done.exit_code == 1 and "in 4 bits" in done.output and "about 9.4 GiB" in done.output
    assert run("plan", "Qwen/Qwen3-8B", "--gpu", "4090", "--slots", "4").exit_code == 1
    assert run("plan", "Qwen/Qwen3-8B", "--gpu", "4090", "--slots", "4", "--context", "2048").exit_code == 0


def test_rounded_weights_are_what_is_planned(run: Run) -> None:
    """Embedding and head stay as they are."""
    big = ("plan", "Qwen/Qwen3-32B", "--gpu", "4090", "--context", "4096")
    refused, rounded = run(*big), run(*big, "--quantize", "int4")
    assert refused.exit_code == 1 and "about 18.3 GiB (--quantize int4)" in refused.output
    assert rounded.exit_code == 0 and "weights      18.3 GiB" in rounded.output
    assert "in 4 bits" not in run(*big, "--quantize", "int4", "--slots", "9").output


def test_a_quantised_checkpoint_is_not_rounded_again(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG | {"quantization_config": {"quant_method": "gptq"}}))
    index = {"metadata": {"total_size": 5_700_000_000}, "weight_map": {}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    assert shape(str(tmp_path), "auto").quantized("int4").weight_bytes == 5_700_000_000


def test_without_a_draft_nothing_is_said_of_it(run: Run) -> None:
    assert "speculation" not in run("plan", "Qwen/Qwen3-0.6B", "--gpu", "t4", "--draft", "none").output


def test_what_it_asks_for(run: Run) -> None:
    assert "--gpu is 'x'; expected one of a100-40, " in run("plan", "Qwen/Qwen3-8B", "--gpu", "x").output
    assert "no folder here" in run("plan", "org/unknown", "--gpu", "4090").output
    assert "expected a model, as in: specdec plan Qwen/Qwen3-8B --gpu '4090'" in run("plan", "4090").output


def test_known_models_count_as_a_folder_of_theirs_would(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    index = {"metadata": {"total_size": 16_381_470_720}, "weight_map": {}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    known, read = shape("Qwen/Qwen3-8B", "auto"), shape(str(tmp_path), "auto")
    assert replace(known, name="") == replace(read, name="")
    assert shape("Qwen/Qwen3-8B", "float32").weight_bytes == 2 * known.weight_bytes
