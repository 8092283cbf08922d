"""A drafter that reads the target's features, through rounds of the host and of the device.

Its head is as simple as can be: it says again what the last feature stands for, which the target here does too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from specdec.decoding.engine import LocalEngine, Parts
from specdec.decoding.speculation.controller import Controller
from specdec.decoding.speculation.costs import CostCurve
from specdec.drafters.base import DeviceDrafter, DeviceRound, DraftContext, Drafter, DraftRound, Drafts, Seen, UpToDate
from specdec.models.base import Model
from specdec.models.loading import load_model
from specdec.text.tokenizer import Tokenizer
from specdec.types import EngineInfo
from tests.decoding.toy import byte_tokenizer
from tests.models import models
from tests.models.test_features import hidden

LAYERS = (0, 2)
PROMPT = [5, 9, 17, 5, 9, 17, 5, 9, 31]
COUNT = 24


class Head(UpToDate):
    """See above. Keeps all features that it is shown, by sequence and position."""

    name = "head"
    free = False
    features = LAYERS
    longest = 16

    def __init__(self, target: Model, embedding: Tensor) -> None:
        self.embedding, self.vocab = embedding, target.info.vocab_size
        self.seen: dict[int, dict[int, Tensor]] = {}
        self.known: dict[int, int] = {}
        """By sequence: how many tokens the target has seen."""
        self.device = None if target.device is None else DeviceHead(self, target.info.slots, target.device.capacity)

    def observe(self, seen: Seen) -> None:
        mine = self.seen.setdefault(seen.context.sequence_id, {})
        assert seen.start == self.known.get(seen.context.sequence_id, 0), "a gap"
        if seen.features is not None:
            assert seen.features.shape[0] == seen.count
            mine.update({seen.start + i: row.float() for i, row in enumerate(seen.features)})
        elif seen.on_device:
            assert self.device is not None
            mine.update(
                {at: self.device.history[seen.context.slot, at] for at in range(seen.start, seen.start + seen.count)}
            )
        self.known[seen.context.sequence_id] = min(seen.start + seen.count, len(seen.context.tokens))

    def token(self, features: Tensor) -> Tensor:
        """[B] from the last features [B, n * H]."""
        return (features[:, : self.embedding.shape[1]].float() @ self.embedding.T).argmax(-1)

    def propose(self, round: DraftRound, k: int) -> Drafts:
        count = len(round.contexts)
        last = [self.seen.get(c.sequence_id, {}).get(len(c.tokens) - 2) for c in round.contexts]
        if any(found is None for found in last):  # calibration
            return Drafts(torch.zeros(count, k, dtype=torch.int64), (0,) * count, sources=("head",) * count)
        tokens = self.token(torch.stack([found for found in last if found is not None]))
        return Drafts(tokens.unsqueeze(1).expand(-1, k), (k,) * count, sources=("head",) * count)

    def release(self, context: DraftContext) -> None:
        pass


class DeviceHead:
    """The same inside a graph."""

    graph_bytes = 0

    def __init__(self, head: Head, slots: int, capacity: int) -> None:
        self.head, self.capacity = head, capacity
        width = len(LAYERS) * head.embedding.shape[1]
        self.history = torch.zeros(slots + 1, capacity + 32, width, device=head.embedding.device)

    def ready(self, contexts: Sequence[DraftContext]) -> bool:
        for context in contexts:
            for at, feature in self.head.seen[context.sequence_id].items():
                self.history[context.slot, at] = feature
        return True

    def reserve(self, contexts: Sequence[DraftContext], added: int) -> bool:
        return all(len(context.tokens) + added <= self.capacity for context in contexts)

    def propose(self, round: DeviceRound) -> None:
        last = self.history[round.slots.long(), round.starts.long() - 1]
        round.verify[:, 1:] = self.head.token(last).unsqueeze(1)

    def observe(self, round: DeviceRound, features: Tensor, accepted: Tensor) -> None:
        assert accepted.shape == round.slots.shape
        at = round.starts.long().unsqueeze(1) + torch.arange(features.shape[1], device=features.device)
        self.history[round.slots.long().unsqueeze(1), at] = features.float()


def _guess(target: Model, drafters: Sequence[Drafter], controller: Controller) -> None:
    controller.verify_cost.observe(1, 1.0)
    for drafter in drafters:
        controller.draft_costs.setdefault(drafter.name, CostCurve()).observe(1, 0.01)


def repeating(folder: Path, **changes: Any) -> Any:
    """A model that mostly says its last token again."""
    models.LLAMA_FAMILY["wide"] = models.KINDS["wide"] = (
        "Llama",
        {"tie_word_embeddings": True, "head_dim": 32, **changes},
    )
    model = models.build("wide")
    with torch.no_grad():
        model.model.embed_tokens.weight.mul_(12)
    models.save(model, folder)
    return model


def engine_over(target: Model, reference: Any) -> tuple[LocalEngine, Head]:
    head = Head(target, reference.model.embed_tokens.weight.detach().float().to(target.info.device))
    checked: Drafter = head
    if head.device is not None:
        checked_device: DeviceDrafter = head.device
        assert checked_device.capacity
    at = target.info
    info = EngineInfo(
        target="tiny", draft="head", architecture=at.architecture, backend=at.backend, device=str(at.device),
        dtype="float32", context=at.context, vocab_size=at.vocab_size, slots=at.slots, drafters=("head",),
        accept_rule="coupled",
        chat_template=False, parameters=0, draft_parameters=0, weight_bytes=0, cache_bytes=0,
    )  # fmt: skip
    tokenizer = Tokenizer(byte_tokenizer())
    return LocalEngine(Parts(target, tokenizer, [checked], info, {}, frozenset(), "coupled")), head


@pytest.fixture(autouse=True)
def _uncalibrated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("specdec.decoding.engine.calibrate", _guess)


@pytest.fixture
def led(tmp_path: Path) -> Iterator[tuple[LocalEngine, Head, Any]]:
    reference = repeating(tmp_path)
    target = load_model(tmp_path, device="cpu", context=64, slots=2)
    target.state.prefixes.limit = 1 << 24
    engine, head = engine_over(target, reference)
    with engine:
        yield engine, head, reference


def check(engine: LocalEngine, head: Head, reference: Any, bound: float = 1e-4, prompts: int = 2) -> None:
    """The same texts, drafts that are accepted, and features that are the target's own at every position."""
    options: dict[str, Any] = {"temperature": 0.0, "max_tokens": COUNT}
    for prompt in ([*PROMPT, 7, 8], [*PROMPT])[:prompts]:
        plain = engine.generate(prompt, **options, speculative="off").token_ids
        for k in (3, "auto"):
            fast = engine.generate(prompt, **options, speculative=k)
            assert fast.token_ids == plain
            if k == 3:
                assert fast.stats.accepted >= COUNT // 2
        sequence = max(head.seen)
        kept, ids = head.seen[sequence], torch.tensor([[*prompt, *plain]])
        with torch.inference_mode():
            truth = hidden(reference, ids, LAYERS)[0]
        assert len(prompt) + COUNT - 1 <= head.known[sequence] <= len(prompt) + COUNT
        assert max(kept) >= len(prompt) + COUNT - 2
        for at, feature in kept.items():
            if at < len(prompt) + COUNT - 1:
                assert float((feature.cpu() - truth[at]).abs().max()) <= bound * float(truth.abs().max()), at


def test_rounds_of_the_host(led: tuple[LocalEngine, Head, Any]) -> None:
    check(*led)


def test_a_known_prefix_is_told_without_features(led: tuple[LocalEngine, Head, Any]) -> None:
    engine, head, _ = led
    engine.generate(PROMPT, temperature=0.0, max_tokens=4, speculative=2)
    again = engine.generate([*PROMPT, 3], temperature=0.0, max_tokens=4, speculative=2)
    assert again.usage.cached_tokens and again.usage.cached_tokens >= len(PROMPT) - 1
    kept = head.seen[max(head.seen)]
    assert min(kept) == again.usage.cached_tokens
    assert sorted(kept) == list(range(min(kept), max(kept) + 1))
