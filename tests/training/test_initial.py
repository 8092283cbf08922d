"""What a small model begins with."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from specdec.errors import UnsupportedModel
from specdec.models.base import Batch
from specdec.models.loading import load_model
from specdec.models.weights.checkpoint import read_json
from specdec.models.weights.export import export
from specdec.models.weights.sources import read_config
from specdec.training.initial import TargetFacts, default_layers, own_layers, write_config, write_model
from tests import gguf_files
from tests.models import models
from tests.models.models import close


def facts_of(path: Path) -> TargetFacts:
    return TargetFacts("t", path, read_config(path).get_text_config(), 0)


def same(path: Path, out: Path) -> None:
    """With all of its layers a small model is the target."""
    out.mkdir()
    write_model(out, facts_of(path), facts_of(path).layers, torch.float32)
    ids, both = models.tokens(1, 20), [load_model(p, device="cpu", dtype="float32", context=64) for p in (path, out)]
    with torch.inference_mode():
        target, own = (model.run(Batch(ids, [0], [0], 20)).logits for model in both)
    close(own, target)


@pytest.mark.parametrize("kind", models.LLAMA_FAMILY)
def test_it_is_made_of_the_target(kind: str, tmp_path: Path) -> None:
    same(models.save(models.build(kind), tmp_path / "target"), tmp_path / "out")


@pytest.mark.parametrize("kind", ["llama", "llama-tied-biased"])
def test_numbers_in_few_bits_become_plain(kind: str, tmp_path: Path) -> None:
    source, target = models.save(models.build(kind), tmp_path / "source"), tmp_path / "target"
    export(source, target, "int4", head=True, device=torch.device("cpu"))
    same(target, tmp_path / "out")
    assert "quantization_config" not in read_json(tmp_path / "out" / "config.json")


def test_a_gguf_file_too(tmp_path: Path) -> None:
    gguf_files.write(models.wide(), tmp_path / "target.gguf", lambda _: "Q4_K")
    same(tmp_path / "target.gguf", tmp_path / "out")


def test_first_layers_and_the_last(tmp_path: Path) -> None:
    target = models.save(models.build("mistral-window"), tmp_path / "target")
    (out := tmp_path / "out").mkdir()
    write_model(out, facts_of(target), 2, torch.float32)
    own, of_target = (load_file(folder / "model.safetensors") for folder in (out, target))
    for at, index in enumerate([0, 2]):
        name = "model.layers.{}.mlp.down_proj.weight"
        assert torch.equal(own[name.format(at)], of_target[name.format(index)])
    assert not [name for name in own if "layers.2" in name]
    assert own_layers(36, 3) == [0, 1, 35]
    assert [default_layers("model", layers) for layers in (2, 3, 8, 32, 80)] == [1, 2, 3, 3, 8]


def test_weights_that_only_transformers_reads(tmp_path: Path) -> None:
    target = models.save(models.build("llama"), tmp_path / "target")
    config = read_json(target / "config.json")
    write_config(target, config | {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}})
    with pytest.raises(UnsupportedModel, match="holds bitsandbytes weights, which cannot be copied"):
        write_model(tmp_path / "out", facts_of(target), 2, torch.float32)
