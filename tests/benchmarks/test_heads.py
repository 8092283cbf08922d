"""A trained head in a larger shape proposes what it proposes in its own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from benchmarks.gpu import Row, load
from benchmarks.heads import cost, trained_head
from benchmarks.shapes import PAIRS
from specdec.bundled import path as bundled
from specdec.drafters.base import DraftContext, Seen
from specdec.drafters.heads.drafter import HeadDrafter
from specdec.drafters.heads.loading import load_head
from specdec.models.loading import load_model
from tests.drafters.heads.building import Sizes, head
from tests.drafters.rounds import propose

LENGTH, K = 40, 6


def proposed(drafter: HeadDrafter, features: torch.Tensor) -> list[int]:
    tokens = torch.randint(3, 8192, (LENGTH + 1,), generator=torch.Generator().manual_seed(2)).tolist()
    seen = DraftContext(1, 0, tokens[:LENGTH], LENGTH)
    drafter.observe(Seen(seen, 0, LENGTH, features))
    seen.tokens.append(tokens[LENGTH])
    return propose(drafter, seen, k=K)[0]


@pytest.mark.parametrize("kind", ["eagle3 of speculators", "dflash of speculators"])
@torch.inference_mode()
def test_a_larger_shape_proposes_the_same(kind: str, tmp_path: Path) -> None:
    size, cpu = PAIRS["tiny"][0], torch.device("cpu")
    small, large = load_model(bundled("target")), load(size, "target", cpu, torch.float32, 1)
    folder = head(kind, Sizes.of(small)).save(tmp_path)
    own, wide = load_head(folder, small, "own"), trained_head(folder, size, large)
    width = Sizes.of(small).hidden
    features = torch.randn(LENGTH, own.ring.shape[-1] // width, width, generator=torch.Generator().manual_seed(1))
    found = proposed(own, features.flatten(1))
    assert proposed(wide, F.pad(features, (0, size.hidden - width)).flatten(1)) == found
    assert len(set(found)) > 1


def test_what_a_round_costs_and_what_it_could_bring() -> None:
    """A round of 1.3 plain passes that brings 2.6 tokens could decode twice as fast, and here does 1.9 times."""
    plain, auto = Row("plain", 0.0, 100.0, verify_ms=10.0), Row("auto", 0.0, 99.0, same_text=True)
    row = Row("k", 0.0, 190.0, acceptance_length=2.6, draft_ms=2.0, verify_ms=11.0, same_text=True)
    found = cost("dflash", 15, plain, auto, row, own=3_000_000_000, taken=3_100_000_000)
    assert (found.ratio, found.auto, found.possible) == pytest.approx((1.3, 0.99, 0.95))
    assert (found.gigabytes, found.taken, found.same_text) == (3.0, 3.1, True)
