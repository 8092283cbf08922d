"""A head proposes the same however the features came to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from specdec.drafters.base import DraftContext, Seen
from specdec.drafters.heads.drafter import RING, HeadDrafter
from specdec.drafters.heads.loading import load_head
from specdec.models.base import Model
from specdec.models.loading import load_model
from tests.drafters.heads.building import Sizes, head
from tests.drafters.rounds import propose, round_of
from tests.models import models

LENGTH, K = 240, 4
KINDS = ("eagle3", "peagle", "dflash", "dspark")


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Model:
    models.LLAMA_FAMILY["long"] = models.KINDS["long"] = ("Llama", {"max_position_embeddings": 400})
    return load_model(models.save(models.build("long"), tmp_path_factory.mktemp("target")), context=300, slots=3)


@pytest.fixture(autouse=True)
def _inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.fixture
def folder(kind: str, target: Model, tmp_path: Path) -> Path:
    return head(kind, Sizes.of(target)).save(tmp_path)


def told(drafter: HeadDrafter, count: int) -> tuple[list[int], Tensor]:
    """Tokens and features of a sequence."""
    generator = torch.Generator().manual_seed(4)
    return models.tokens(LENGTH, seed=2).tolist(), torch.randn(LENGTH, drafter.ring.shape[-1], generator=generator)


def context(tokens: list[int], slot: int, sequence: int = 1, prompt: int = 40) -> DraftContext:
    return DraftContext(sequence, slot, tokens[:prompt], prompt)


def goes_on(drafter: HeadDrafter, seen: DraftContext, tokens: list[int], features: Tensor, count: int) -> None:
    """So many more tokens, one of which is the target's own, as a round by another drafter commits them."""
    start = len(seen.tokens) - 1
    seen.tokens += tokens[start + 1 : start + 1 + count]
    drafter.observe(Seen(seen, start, count, features[start : start + count]))


def prompted(drafter: HeadDrafter, seen: DraftContext, tokens: list[int], features: Tensor, start: int = 0) -> None:
    """The rest of a prompt in chunks, and the first token behind it."""
    for low in range(start, len(seen.tokens), 17):
        high = min(low + 17, len(seen.tokens))
        drafter.observe(Seen(seen, low, high - low, features[low:high]))
    seen.tokens.append(tokens[len(seen.tokens)])


def truth(folder: Path, target: Model, tokens: list[int], features: Tensor, length: int) -> list[int]:
    """From a head that is told everything at once."""
    drafter = load_head(folder, target, "head")
    seen = context(tokens, 0, prompt=length - 1)
    drafter.observe(Seen(seen, 0, length - 1, features[: length - 1]))
    seen.tokens.append(tokens[length - 1])
    return propose(drafter, seen, k=K)[0]


@pytest.mark.parametrize("kind", KINDS)
def test_features_that_wait_are_not_lost(kind: str, folder: Path, target: Model) -> None:
    """Through more rounds of others than the ring holds, and rounds of its own that were rejected."""
    drafter = load_head(folder, target, "head")
    tokens, features = told(drafter, LENGTH)
    seen = context(tokens, 1)
    prompted(drafter, seen, tokens, features)
    assert propose(drafter, seen, k=K)[0] == truth(folder, target, tokens, features, 41)
    while len(seen.tokens) < 60 + RING:
        goes_on(drafter, seen, tokens, features, 1 + len(seen.tokens) % 7)
    assert propose(drafter, seen, k=K)[0] == truth(folder, target, tokens, features, len(seen.tokens))
    goes_on(drafter, seen, tokens, features, 2)
    assert propose(drafter, seen, k=K)[0] == truth(folder, target, tokens, features, len(seen.tokens))


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_wait_for_more_or_less(kind: str, folder: Path, target: Model) -> None:
    drafter = load_head(folder, target, "head")
    tokens, features = told(drafter, LENGTH)
    rows = [context(tokens, 2), context(tokens, 0, 2, prompt=55)]
    for seen, more in zip(rows, (9, 3), strict=True):
        prompted(drafter, seen, tokens, features)
        goes_on(drafter, seen, tokens, features, more)
    wanted = [truth(folder, target, tokens, features, len(seen.tokens)) for seen in rows]
    assert propose(drafter, *rows, k=K) == wanted
    assert propose(drafter, *rows[::-1], k=K) == wanted[::-1]


@pytest.mark.parametrize("kind", KINDS)
def test_a_prefix_that_the_head_knows_too(kind: str, folder: Path, target: Model) -> None:
    """The target tells nothing of it; what another slot left is found. Where nothing was left it starts behind."""
    drafter = load_head(folder, target, "head")
    drafter.state.prefixes.limit = 1 << 24
    tokens, features = told(drafter, LENGTH)
    first = context(tokens, 0)
    prompted(drafter, first, tokens, features)
    goes_on(drafter, first, tokens, features, 20)
    drafter.release(first)
    again = context(tokens, 1, 2, prompt=60)
    drafter.observe(Seen(again, 0, 50))
    prompted(drafter, again, tokens, features, 50)
    assert propose(drafter, again, k=K)[0] == truth(folder, target, tokens, features, 61)
    behind = context(tokens, 2, 3, prompt=120)
    drafter.observe(Seen(behind, 0, 110))
    prompted(drafter, behind, tokens, features, 110)
    assert len(propose(drafter, behind, k=K)[0]) == K
    kept = drafter.state.prefixes.tokens
    drafter.release(behind)
    assert drafter.state.prefixes.tokens == kept, "it begins in the middle"


@pytest.mark.parametrize("known", [60, 33])
@pytest.mark.parametrize("kind", KINDS)
def test_a_row_that_was_paused(kind: str, known: int, folder: Path, target: Model) -> None:
    """In its answer; it goes on in another slot. Where the target knows all of it, its first round has no features to
    draft from."""
    drafter = load_head(folder, target, "head")
    drafter.state.prefixes.limit = 1 << 24
    tokens, features = told(drafter, LENGTH)
    seen = context(tokens, 0)
    prompted(drafter, seen, tokens, features)
    goes_on(drafter, seen, tokens, features, 20)
    drafter.release(seen)
    other = context(tokens[100:], 0, 2)
    prompted(drafter, other, tokens[100:], features)
    seen.slot = 2
    drafter.observe(Seen(seen, 0, known))
    if known < 60:
        drafter.observe(Seen(seen, known, 60 - known, features[known:60]))
        assert propose(drafter, seen, k=K)[0] == truth(folder, target, tokens, features, 61)
    else:
        assert drafter.propose(round_of([seen]), K).lengths == (0,)
    goes_on(drafter, seen, tokens, features, 3)
    assert propose(drafter, seen, k=K)[0] == truth(folder, target, tokens, features, 64)


@pytest.mark.parametrize("kind", ["eagle3", "dflash", "dspark"])
def test_of_a_long_sequence_it_sees_the_newest_part(
    kind: str, folder: Path, target: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a head does that begins there. The next turn of the same chat goes on with that part."""
    monkeypatch.setattr("specdec.drafters.heads.drafter.WINDOW", 40)
    drafter = load_head(folder, target, "head")
    tokens, features = told(drafter, LENGTH)
    long, behind = context(tokens, 0, prompt=200), context(tokens, 1, 2, prompt=200)
    prompted(drafter, long, tokens, features)
    begins = drafter.stands(long)[1]
    assert begins > 50
    drafter.observe(Seen(behind, 0, begins))
    prompted(drafter, behind, tokens, features, begins)
    wanted = propose(drafter, behind, k=K)
    assert propose(drafter, long, k=K) == wanted
    drafter.release(long)
    again = context(tokens, 0, 3, prompt=200)
    drafter.observe(Seen(again, 0, 190))
    prompted(drafter, again, tokens, features, 190)
    assert drafter.stands(again)[1] == begins
    assert propose(drafter, again, k=K) == wanted


@pytest.mark.parametrize("kind", ["dflash"])
def test_memory_is_its_own_alone(kind: str, folder: Path, target: Model) -> None:
    drafter = load_head(folder, target, "head")
    assert drafter.weight_bytes == 4 * drafter.parameters
    assert drafter.parameters < 40_000
    assert drafter.longest == 7
    assert propose(drafter, context([3] * 40, 0), k=9) == [[*propose(drafter, context([3] * 40, 0), k=7)[0]]]


@pytest.mark.parametrize(("bias", "kept"), [(-9.0, 1), (9.0, K)])
def test_a_heads_own_doubts_shorten_drafts_that_nobody_counted(
    bias: float, kept: int, target: Model, tmp_path: Path
) -> None:
    written = head("dspark", Sizes.of(target))
    written.tensors["confidence_head.proj.bias"].fill_(bias)
    written.tensors["confidence_head.proj.weight"].zero_()
    drafter = load_head(written.save(tmp_path), target, "head")
    tokens, features = told(drafter, LENGTH)
    rows = [context(tokens, 0), context(tokens, 1, 2)]
    for seen in rows:
        prompted(drafter, seen, tokens, features)
    round = replace(round_of(rows), shortened=(True, False))
    assert drafter.propose(round, K).lengths == (kept, K)
