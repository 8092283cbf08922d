"""A checkpoint written in fewer bits is the model that rounding on load gives."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from specdec.bench.perplexity import perplexity
from specdec.errors import InvalidRequest, UnsupportedModel
from specdec.models.base import Batch
from specdec.models.loading import load_model
from specdec.models.weights.export import export
from specdec.types.load import Quantize
from tests.models import models

CPU = torch.device("cpu")


@pytest.mark.parametrize("kind", ["llama", "llama-tied-biased"])
@pytest.mark.parametrize(("to", "head"), [("int4", True), ("int8", False), ("fp8", True)])
def test_written_and_read(kind: str, to: Quantize, tmp_path: Path, *, head: bool) -> None:
    source, folder = tmp_path / "source", tmp_path / "there"
    models.save(models.build(kind), source)
    export(source, folder, to, head=head, device=CPU)
    written, ids = load_model(folder, device="cpu"), models.tokens(1, 9)
    rounded = load_model(source, device="cpu", quantize=to, quantize_head=head)
    plain = load_model(source, device="cpu")
    with torch.inference_mode():
        found, wanted, before = (m.run(Batch(ids, [0], [0], 9)).logits for m in (written, rounded, plain))
    torch.testing.assert_close(found, wanted)
    assert not torch.allclose(found, before, rtol=1e-3)


@pytest.mark.parametrize("to", ["int4", "fp8"])
def test_a_rounded_head_beside_a_config_that_ties_it(to: Quantize, tmp_path: Path) -> None:
    """The file is believed, as where the head is plain."""
    models.save(models.build("llama"), tmp_path / "source")
    export(tmp_path / "source", tmp_path / "there", to, head=True, device=CPU)
    logits, ids, file = [], models.tokens(1, 9), tmp_path / "there" / "config.json"
    for tied in (False, True):
        file.write_text(json.dumps(json.loads(file.read_text()) | {"tie_word_embeddings": tied}))
        logits.append(load_model(tmp_path / "there", device="cpu").run(Batch(ids, [0], [0], 9)).logits)
    assert torch.equal(*logits)


@pytest.mark.slow
def test_transformers_reads_it(tmp_path: Path) -> None:
    """With the package that the format is named after, as vLLM does."""
    pytest.importorskip("compressed_tensors")
    from transformers import AutoModelForCausalLM

    models.save(models.build("llama"), tmp_path / "source")
    export(tmp_path / "source", tmp_path / "there", "int4", head=False, device=CPU)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "there", dtype=torch.float32).eval()
    ours, ids = load_model(tmp_path / "there", device="cpu"), models.tokens(1, 9)
    with torch.inference_mode():
        models.close(ours.run(Batch(ids, [0], [0], 9)).logits, models.full(theirs, ids))


def test_what_the_files_say(tmp_path: Path) -> None:
    models.save(models.build("llama"), tmp_path / "source")
    (tmp_path / "source" / "pytorch_model.bin").write_bytes(b"the same in 16 bits")
    export(tmp_path / "source", tmp_path / "there", "int4", head=True, device=CPU)
    assert not (tmp_path / "there" / "pytorch_model.bin").exists()
    said = json.loads((tmp_path / "there" / "config.json").read_text())["quantization_config"]
    assert said["format"] == "pack-quantized"
    assert said["config_groups"]["group_1"]["targets"] == ["re:.*lm_head"]
    held = load_file(tmp_path / "there" / "model-00001.safetensors")
    assert held["model.layers.0.mlp.down_proj.weight_packed"].dtype == torch.int32
    assert "model.layers.0.mlp.down_proj.weight" not in held
    assert held["model.embed_tokens.weight"].dtype == torch.float32


def test_what_is_not_written(tmp_path: Path) -> None:
    models.save(models.build("gemma"), tmp_path / "gemma")
    with pytest.raises(UnsupportedModel, match="cannot be quantised; expected Llama"):
        export(tmp_path / "gemma", tmp_path / "there", "int4", head=False, device=CPU)
    with pytest.raises(InvalidRequest, match="a folder that is empty, or none yet"):
        export(tmp_path / "gemma", tmp_path / "gemma", "int4", head=False, device=CPU)
    models.save(models.build("llama"), tmp_path / "llama")
    (file := tmp_path / "file").write_text("a letter")
    with pytest.raises(InvalidRequest, match="a folder that is empty, or none yet"):
        export(tmp_path / "llama", file, "int4", head=False, device=CPU)
    with pytest.raises(InvalidRequest, match=r"an empty folder on a disk with room, .* \(.*Not a directory"):
        export(tmp_path / "llama", file / "there", "int4", head=False, device=CPU)


def test_perplexity(tmp_path: Path) -> None:
    """In stretches of the context, each token but the first foretold from those before."""
    reference = models.build("llama")
    models.save(reference, tmp_path)
    model, ids = load_model(tmp_path, device="cpu", context=16), models.tokens(1, 30)[0]
    total = 0.0
    for begin in (0, 16):
        part = ids[begin : begin + 17]
        with torch.inference_mode():
            logits = models.full(reference, part[None, :-1])[0]
        total += torch.nn.functional.cross_entropy(logits, part[1:], reduction="sum").item()
    assert perplexity(model, ids.tolist()) == pytest.approx(torch.tensor(total / 29).exp().item(), rel=1e-4)
