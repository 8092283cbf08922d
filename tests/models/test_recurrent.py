"""Models with recurrent state go back to any token, in exactness and in cost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from specdec.models.base import Batch, Pass
from specdec.models.loading import load_model
from specdec.models.transformers.recurrent import RecurrentModel
from tests.models import models
from tests.models.models import close, full, tokens


@pytest.fixture(autouse=True)
def _inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


def _load(kind: str, folder: Path) -> RecurrentModel:
    found = load_model(models.save(models.build(kind), folder), device="cpu", context=64, slots=3)
    assert isinstance(found, RecurrentModel)
    return found


def _give(model: RecurrentModel, slot: int, ids: Tensor) -> None:
    """The slot belongs to these tokens [M]."""
    model.state.begin(slot, ids.tolist())


@pytest.mark.parametrize("kind", models.RECURRENT)
def test_rounds_as_they_come(kind: str, tmp_path: Path) -> None:
    """Two sequences: prompts in chunks, then blocks of which a part is accepted, then one token after another."""
    model, ids = _load(kind, tmp_path), tokens(2, 40)
    truth = full(models.build(kind), ids)
    for slot in (0, 2):
        _give(model, slot, ids[slot // 2])
    close(model.run(Batch(ids[:, :9], [0, 2], [0, 0], 1)).logits, truth[:, 8:9])
    close(model.run(Batch(ids[:, 9:13], [0, 2], [9, 9], 4)).logits, truth[:, 9:13])
    starts = [13, 13]
    for accepted in ((0, 4), (1, 0), (0, 0), (0, 2), (4, 1), (0, 0)):
        block = torch.stack([ids[row, start : start + 5] for row, start in enumerate(starts)])
        for row, count in enumerate(accepted):
            block[row, count + 1 :] = 5  # rejected
        found = model.run(Batch(block, [0, 2], starts, 5)).logits
        for row, count in enumerate(accepted):
            close(found[row, : count + 1], truth[row, starts[row] : starts[row] + count + 1])
        starts = [start + count + 1 for start, count in zip(starts, accepted, strict=True)]
    close(
        model.run(Batch(ids[:1, starts[0] : starts[0] + 1], [0], starts[:1], 1)).logits[0],
        truth[0, starts[0]][None],
    )


@pytest.mark.parametrize("kind", ["mamba", *models.HYBRID])
def test_back_to_any_token(kind: str, tmp_path: Path) -> None:
    """Further than what was kept on the way: the tokens run again."""
    model, ids = _load(kind, tmp_path), tokens(1, 40)
    truth = full(models.build(kind), ids)
    _give(model, 1, ids[0])
    for start, end in ((0, 20), (20, 30), (7, 12), (11, 15), (3, 40)):
        close(model.run(Batch(ids[:, start:end], [1], [start], 1)).logits, truth[:, end - 1 : end])


def test_not_beyond_what_it_has_seen(tmp_path: Path) -> None:
    model, ids = _load("mamba2", tmp_path), tokens(1, 20)
    _give(model, 0, ids[0])
    model.run(Batch(ids[:, :5], [0], [0], 0))
    with pytest.raises(ValueError, match="slot 0 holds 5 positions"):
        model.run(Batch(ids[:, 9:], [0], [9], 1))


def _widths(model: RecurrentModel, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tokens each pass from now on takes."""
    widths: list[int] = []
    step = model.step

    def noting(tokens: Tensor, *rest: Any) -> Pass:
        widths.append(tokens.shape[1])
        return step(tokens, *rest)

    monkeypatch.setattr(model, "step", noting)
    return widths


def test_what_was_rejected_does_not_run_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounds in which nothing is accepted: the tokens that run again stay few."""
    model, ids = _load("mamba2", tmp_path), tokens(1, 60)
    _give(model, 0, ids[0])
    model.run(Batch(ids[:, :5], [0], [0], 0))
    widths = _widths(model, monkeypatch)
    for start in range(5, 50):
        model.run(Batch(ids[:, start : start + 5], [0], [start], 5))
    assert max(widths) <= 5 + 17
    assert sum(widths) < 45 * (5 + 10)


@pytest.mark.parametrize("kind", ["mamba2", "qwen3-next", "lfm2"])
def test_known_prefixes_are_not_computed_again(kind: str, tmp_path: Path) -> None:
    model, ids = _load(kind, tmp_path), tokens(1, 40)
    truth = full(models.build(kind), ids)
    model.state.prefixes.limit = 1 << 20
    first = ids[0, :25].tolist()
    model.state.begin(0, first)
    model.run(Batch(ids[:, :20], [0], [0], 0))
    model.state.commit(0, 20)
    model.state.save(0)
    model.run(Batch(ids[:, 20:25], [0], [20], 0))
    model.state.commit(0, 25)
    model.state.save(0)
    assert model.state.prefixes.tokens == 45
    assert model.state.begin(1, ids[0].tolist()) == 25
    close(model.run(Batch(ids[:, 25:], [1], [25], 1)).logits, truth[:, -1:])
    branch = [*ids[0, :22].tolist(), 3, 4]
    assert model.state.begin(2, branch) == 20
    model.state.prefixes.limit = 0
    model.state.save(0)
    assert model.state.begin(1, [3, 4, 5]) == 0


def test_replays_end_where_single_tokens_are_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a draft model's are, round after round."""
    model, ids = _load("mamba2", tmp_path), tokens(1, 60)
    _give(model, 0, ids[0])
    model.run(Batch(ids[:, :5], [0], [0], 0))
    widths = _widths(model, monkeypatch)
    for start in range(5, 50):
        for token in (start, start + 1):
            model.run(Batch(ids[:, token : token + 1], [0], [token], 1))
    assert max(widths) <= 1 + 17


@pytest.mark.parametrize("kind", ["mamba2", "qwen3-next", "lfm2", "jamba"])
def test_a_pass_that_fails_halfway_is_run_again(kind: str, tmp_path: Path) -> None:
    """Memory runs out behind the first layers, which have taken the tokens in already."""
    model, ids = _load(kind, tmp_path), tokens(1, 40)
    truth = full(models.build(kind), ids)
    _give(model, 0, ids[0])
    model.run(Batch(ids[:, :10], [0], [0], 0))
    model.run(Batch(ids[:, 10:14], [0], [10], 0))

    def full_memory(*_: Any) -> None:
        raise torch.OutOfMemoryError

    layers = getattr(model.forward.model, "model", None) or model.forward.model.backbone
    for start, end in ((14, 19), (12, 17), (17, 18), (18, 19)):
        hook = layers.layers[-1].register_forward_pre_hook(full_memory)
        with pytest.raises(torch.OutOfMemoryError):
            model.run(Batch(ids[:, start:end], [0], [start], 1))
        hook.remove()
        close(model.run(Batch(ids[:, start:end], [0], [start], 1)).logits, truth[:, end - 1 : end])
    hook = layers.layers[-1].register_forward_pre_hook(full_memory)
    with pytest.raises(torch.OutOfMemoryError):
        model.run(Batch(ids[:, 19:20], [0], [19], 1))
    hook.remove()
    other, fresh = tokens(1, 20, seed=5), _load(kind, tmp_path / "fresh")
    model.state.commit(0, 0)
    for each in (model, fresh):
        _give(each, 0, other[0])
    for start, end in ((0, 1), (1, 2), (2, 20), (4, 12)):  # nothing is left of the one before
        batch = Batch(other[:, start:end], [0], [start], 1)
        close(model.run(batch).logits, fresh.run(batch).logits)


def test_unknown_ids_run_again_as_the_last_one(tmp_path: Path) -> None:
    """A draft model may know fewer ids than its target, whose tokens the slot's are."""
    model, ids = _load("mamba2", tmp_path), tokens(1, 20)
    known = ids.clone()
    known[0, 8] = models.VOCAB - 1
    given = known.clone()
    given[0, 8] = models.VOCAB + 3
    truth = full(models.build("mamba2"), known)
    _give(model, 0, given[0])
    for start, end in ((0, 6), (6, 14), (10, 12)):
        close(model.run(Batch(known[:, start:end], [0], [start], 1)).logits, truth[:, end - 1 : end])


@pytest.mark.parametrize("kind", models.HYBRID)
def test_a_slot_is_as_large_as_what_it_may_hold(kind: str, tmp_path: Path) -> None:
    """Prefixes get as many bytes as the slots take: room for a whole state of each."""
    model, ids = _load(kind, tmp_path), tokens(1, 64)
    _give(model, 0, ids[0])
    model.run(Batch(ids, [0], [0], 0))
    assert 0 < model.snapshot(0, 64).nbytes <= model.info.cache_bytes // 3


def test_a_pass_further_back_that_fails_leaves_what_was_seen(tmp_path: Path) -> None:
    """As where a draft model runs several sequences together, one of which lacks less than another."""
    model, ids = _load("mamba2", tmp_path), tokens(1, 40)
    _give(model, 0, ids[0])
    model.run(Batch(ids[:, :20], [0], [0], 0))

    def full_memory(*_: Any) -> None:
        raise torch.OutOfMemoryError

    hook = model.forward.model.backbone.layers[-1].register_forward_pre_hook(full_memory)
    with pytest.raises(torch.OutOfMemoryError):
        model.run(Batch(ids[:, 15:22], [0], [15], 1))
    hook.remove()
    close(model.run(Batch(ids[:, 20:22], [0], [20], 1)).logits, full(models.build("mamba2"), ids)[:, 21:22])


def test_what_follows_a_prompt_does_not_run_the_prompt_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Single tokens that are taken back: a draft model's."""
    model, ids = _load("mamba2", tmp_path), tokens(1, 60)
    _give(model, 0, ids[0])
    model.run(Batch(ids[:, :50], [0], [0], 0))
    widths = _widths(model, monkeypatch)
    for start in (50, 51, 51):
        model.run(Batch(ids[:, start : start + 1], [0], [start], 1))
    assert sum(widths) <= 4
