"""GGUF models through llama.cpp: the contract of a model, and text that no drafter changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from specdec import load
from specdec.errors import CheckpointCorrupt, InvalidRequest, UnsupportedModel
from specdec.models.base import Batch
from specdec.models.loading import foretold, load_model
from specdec.models.weights.gguf import read_gguf_config
from tests import gguf_files
from tests.models import models
from tests.models.models import close, full, tokens

pytest.importorskip("llama_cpp", reason="it takes minutes to build; pip install 'specdec-engine[gguf]'")

from specdec.models.llamacpp.model import LlamaCppModel
from specdec.models.llamacpp.recurrent import RecurrentLlamaCppModel


@pytest.fixture(autouse=True)
def _near(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys and values are 16-bit floats there."""
    monkeypatch.setattr(models, "TOLERANCE", 5e-2)


def _load(path: Path, slots: int = 3) -> LlamaCppModel:
    model = load_model(path, device="cpu", context=64, slots=slots)
    assert isinstance(model, LlamaCppModel)
    return model


@pytest.mark.parametrize("kind", ["llama", "llama-tied-biased", "qwen2", "qwen3"])
def test_any_way_the_tokens_come(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    reference = gguf_files.write(models.build(kind), path)
    model = _load(path)
    with torch.inference_mode():
        for check in models.ALL_CHECKS:
            check(model, reference)


def test_any_part_of_a_split_file(tmp_path: Path) -> None:
    gguf_files.write(models.build("llama"), tmp_path / "model.gguf", split_max_tensors=10)
    parts = sorted(tmp_path.glob("*.gguf"))
    assert len(parts) > 1
    assert {_load(part).info.parameters for part in parts} == {models.build("llama").num_parameters()}


@pytest.fixture
def recurrent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], tuple[Path, Any]]:
    """A file with recurrent state, and the model of transformers that it is."""
    monkeypatch.setitem(models.KINDS, "mamba", ("Mamba", {"state_size": 8, "intermediate_size": 64}))

    def write(kind: str) -> tuple[Path, Any]:
        path = tmp_path / f"{kind}.gguf"
        return path, gguf_files.write_recurrent(models.build(kind), path)

    return write


@pytest.mark.parametrize("kind", ["mamba", "lfm2"])
def test_recurrent_state_goes_back(kind: str, recurrent: Callable[[str], tuple[Path, Any]]) -> None:
    path, reference = recurrent(kind)
    model = load_model(path, device="cpu", context=64, slots=3)
    assert isinstance(model, RecurrentLlamaCppModel)
    ids = tokens(1, 40)
    truth = full(reference, ids)
    model.state.begin(1, ids[0].tolist())
    for start, end in ((0, 20), (20, 25), (22, 27), (24, 25), (25, 30), (7, 12), (11, 15), (3, 40)):
        close(model.run(Batch(ids[:, start:end], [1], [start], 1)).logits, truth[:, end - 1 : end])


@pytest.mark.parametrize("kind", ["mamba", "lfm2"])
def test_recurrent_prefixes_are_found(kind: str, recurrent: Callable[[str], tuple[Path, Any]]) -> None:
    path, reference = recurrent(kind)
    model = load_model(path, device="cpu", context=64, slots=3)
    model.state.prefixes.limit = model.info.cache_bytes
    assert model.info.cache_bytes > 0
    ids = tokens(1, 40)
    truth = full(reference, ids)
    model.state.begin(0, ids[0, :20].tolist())
    model.run(Batch(ids[:, :20], [0], [0], 1))
    model.state.commit(0, 20)
    model.state.save(0, 19)  # as it was before the last token
    model.state.save(0)
    assert model.state.begin(1, ids[0, :20].tolist()) == 19
    close(model.run(Batch(ids[:, 19:20], [1], [19], 1)).logits, truth[:, 19:20])
    assert model.state.begin(2, ids[0].tolist()) == 20
    close(model.run(Batch(ids[:, 20:24], [2], [20], 4)).logits, truth[:, 20:24])
    close(model.run(Batch(ids[:, 22:40], [2], [22], 1)).logits, truth[:, -1:])


@pytest.mark.parametrize("kind", ["mamba", "lfm2"])
def test_no_drafter_changes_recurrent_text(kind: str, recurrent: Callable[[str], tuple[Path, Any]]) -> None:
    with load(recurrent(kind)[0], slots=2) as engine:
        for seed in (1, 2):
            options: dict[str, Any] = {"max_tokens": 30, "ignore_eos": True, "temperature": 1.0, "seed": seed}
            plain = engine.generate("abcabcab", speculative="off", **options)
            quick = engine.generate("abcabcab", speculative=4, prediction=plain.text[:12], **options)
            assert plain.token_ids == quick.token_ids


def test_what_it_says_of_itself(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    reference = gguf_files.write(models.build("qwen3"), path)
    info = _load(path).info
    assert (info.architecture, info.backend, info.vocab_size) == ("qwen3", "llama.cpp", models.VOCAB)
    assert info.weight_format == "GGUF F32"
    assert info.parameters == sum(p.numel() for p in reference.parameters())
    assert info.cache_bytes == 3 * 256 * 2 * (3 * 2 * 2 * 16)  # slots, positions, fp16, layers, keys and values
    assert info.context == 64
    assert load_model(path, device="cpu").info.context == models.CONTEXT
    with pytest.raises(UnsupportedModel, match="gives no hidden states"):
        _load(path).run(Batch(tokens(1, 3), [0], [0], 1, (1,)))
    with pytest.raises(ValueError, match="a slot holds 256"):
        _load(path).run(Batch(tokens(1, 3), [0], [254], 1))


def test_memory_is_told_beforehand(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    gguf_files.write(models.build("qwen3"), path, lambda _: "F16")
    info, ((kind, needs),) = _load(path).info, foretold(path, device="cpu", context=64, slots=3).items()
    assert kind == info.weight_format == "GGUF F16"
    assert (needs.cache, needs.weights) == (info.cache_bytes, info.weight_bytes)


def test_it_runs_files_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    gguf_files.write(models.build("llama"), path)
    with pytest.raises(InvalidRequest, match="quantised already"):
        load_model(path, device="cpu", quantize="int4")
    with pytest.raises(InvalidRequest, match=r"which llama\.cpp runs as it is"):
        load_model(path, device="cpu", quantize_head=True)


def test_a_row_is_the_same_in_any_pass(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    gguf_files.write(models.wide(), path, lambda _: "Q8_0")
    model, ids = load_model(path, device="cpu", context=96), tokens(1, 90)
    whole = model.run(Batch(ids, [0], [0], 90)).logits
    for size in (1, 7, 16, 70):
        parts = [ids[:, at : at + size] for at in range(0, 90, size)]
        pieces = [model.run(Batch(part, [0], [at * size], part.shape[1])).logits for at, part in enumerate(parts)]
        assert torch.equal(torch.cat(pieces, 1), whole), size


def test_earlier_sequences_are_found_and_cut(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    reference = gguf_files.write(models.build("llama"), path)
    model, first = _load(path), tokens(1, 30, seed=1)
    model.state.prefixes.limit = 10**9
    held = first[0].tolist()
    model.state.begin(0, held)
    model.run(Batch(first, [0], [0], 1))
    model.state.commit(0, 30)
    model.state.save(0, 29)
    model.state.save(0)
    assert model.state.prefixes.tokens == 30  # the shorter one is part of the longer one
    ids = torch.cat((first[:, :20], tokens(1, 10, seed=2)), 1)
    assert model.state.begin(1, ids[0].tolist()) == 20
    found = model.run(Batch(ids[:, 20:], [1], [20], 10)).logits
    close(found, full(reference, ids)[:, 20:])
    assert model.state.begin(2, held) == 29


def test_no_drafter_changes_the_text(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    gguf_files.write(models.build("llama"), path)
    draft = tmp_path / "draft.gguf"
    gguf_files.write(models.build("qwen2"), draft)
    with load(path, draft, slots=2) as engine:
        assert engine.info.backend == "llama.cpp"
        samplings: tuple[dict[str, Any], ...] = ({"temperature": 0.0}, {"temperature": 1.0, "seed": 5})
        for options in samplings:
            plain = engine.generate("abcabcab", max_tokens=40, speculative="off", ignore_eos=True, **options)
            quick = engine.generate("abcabcab", max_tokens=40, speculative=4, ignore_eos=True, **options)
            guessed = engine.generate(
                "abcabcab", max_tokens=40, prediction=plain.text, ignore_eos=True, speculative=8, **options
            )
            assert plain.token_ids == quick.token_ids == guessed.token_ids
            assert guessed.stats.rounds < plain.stats.rounds


def test_a_file_that_llama_cpp_refuses(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    gguf_files.write(models.build("llama"), path)
    path.write_bytes(path.read_bytes().replace(b"blk.1.ffn_up.weight", b"blk.1.ffn_UP.weight"))
    with pytest.raises(CheckpointCorrupt, match=r"cannot be read by llama\.cpp: .*ffn_up"):
        _load(path)
    assert read_gguf_config(path).num_hidden_layers == 3
