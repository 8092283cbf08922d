"""A head over a whole sequence gives what it drafts, position by position, and can be trained so."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from specdec.drafters.base import DraftContext, Seen
from specdec.drafters.heads.checkpoint import HeadTensors
from specdec.drafters.heads.config import read
from specdec.drafters.heads.dflash import BlockHead
from specdec.drafters.heads.eagle3 import EagleHead
from specdec.drafters.heads.loading import load_head
from specdec.drafters.heads.parts import HeadParts
from specdec.drafters.heads.sequences import SequenceKeys
from specdec.models.base import Model
from specdec.models.loading import load_model
from specdec.models.weights.dense import DenseWeight
from tests.drafters.heads.building import Sizes, head
from tests.drafters.rounds import propose
from tests.models import models

LENGTH = 24


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load_model(models.save(models.build("llama"), tmp_path_factory.mktemp("target")), context=64, slots=2)


def drafted(folder: Path, target: Model, tokens: Tensor, features: Tensor) -> list[list[int]]:
    """What the head drafts behind each position from the third on."""
    drafter = load_head(folder, target, "head")
    found = []
    for end in range(3, LENGTH):
        seen = DraftContext(end, 0, tokens[:end].tolist(), end)
        drafter.observe(Seen(seen, 0, end, features[:end]))
        seen.tokens.append(int(tokens[end]))
        found.append(propose(drafter, seen, k=5)[0])
    return found


@pytest.mark.parametrize("kind", ["eagle3", "dflash of speculators"])
def test_every_position_at_once(kind: str, target: Model, tmp_path: Path) -> None:
    folder = head(kind, Sizes.of(target)).save(tmp_path)
    tensors = HeadTensors(folder, torch.device("cpu"), torch.float32, DenseWeight)
    assert target.ends is not None
    config = read(folder, target.ends.layers)
    parts = HeadParts.read(config, tensors, target.ends, target.info)
    made = (EagleHead if kind == "eagle3" else BlockHead)(parts)
    tokens = models.tokens(LENGTH + 1, seed=8)
    features = torch.randn(
        LENGTH, len(config.features) * target.ends.hidden, generator=torch.Generator().manual_seed(1)
    )
    with torch.inference_mode():
        wanted = drafted(folder, target, tokens, features)
    weight = made.fc.tensor.requires_grad_()
    keys, positions = SequenceKeys.of(config.family, LENGTH + 8, torch.device("cpu")), torch.arange(LENGTH)
    if isinstance(made, EagleHead):
        causal = torch.ones(LENGTH, LENGTH, dtype=torch.bool).tril()
        said = made.step(made.fused(features), tokens[1:], keys.rows(positions, causal))[1]
        logits = parts.vocabulary.logits(said)
        assert logits[3 - 1 : LENGTH - 1].argmax(-1).tolist() == [row[0] for row in wanted]
    else:
        fused, size = made.fused(features), made.block.size
        for index in range(len(made.body.layers)):
            made.body.keep(index, fused, keys.rows(positions))
        anchors = torch.arange(3, LENGTH)
        blocks = torch.arange(len(anchors)).repeat_interleave(size)
        before = positions < anchors[blocks].unsqueeze(1)
        mask = torch.cat((before, blocks.unsqueeze(1) == blocks), 1)
        at = (anchors.unsqueeze(1) + torch.arange(size)).flatten()
        hidden = made.filled(tokens[anchors], keys.rows(at, mask))
        logits = made.logits(hidden[:, 1:])
        assert logits.argmax(-1).tolist() == wanted
    logits[logits.isfinite()].square().mean().backward()  # type: ignore[no-untyped-call]
    assert weight.grad is not None
    assert float(weight.grad.abs().max()) > 0
