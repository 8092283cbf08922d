from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from specdec.drafters import model as drafting
from specdec.drafters.base import DraftContext, Drafter
from specdec.drafters.model import DraftModelDrafter
from specdec.models.base import Batch, Model, ModelInfo, Pass
from specdec.models.prefixes import PrefixTree
from specdec.models.state import SlotState
from specdec.sampling.batch import SamplingBatch
from specdec.sampling.state import SamplerState
from specdec.types import MAX_SPECULATIVE_TOKENS, SamplingParams

from .rounds import GreedySampling, context, goes_on, round_of, rows

VOCAB = 23
CPU = torch.device("cpu")


def scores(prefix: Sequence[int]) -> Tensor:
    """What the scripted model says after these tokens: something that depends on every one of them."""
    value = 1
    for token in prefix:
        value = (value * 31 + token + 7) % 1_000_003
    return torch.randn(VOCAB, generator=torch.Generator().manual_seed(value))


def greedy(prefix: Sequence[int], k: int) -> list[int]:
    out: list[int] = []
    for _ in range(k):
        out.append(int(scores([*prefix, *out]).argmax()))
    return out


class ScriptedModel:
    """Keeps tokens where a model keeps keys and values, so that a wrong cache gives wrong logits."""

    def __init__(self, context: int = 64, slots: int = 4, vocab_size: int = VOCAB) -> None:
        self.info = ModelInfo(
            "scripted", "Scripted", "scripted", vocab_size, context, slots, CPU, torch.float32, 0, 0, 0
        )
        self.state = SlotState(slots, PrefixTree(self.keys_values))
        self.device = self.ends = None
        self.cache = torch.full((slots, context + MAX_SPECULATIVE_TOKENS + 1), -1)
        self.calls: list[tuple[int, int, int]] = []
        """(rows, tokens per row, keep) of each pass."""

    def warm_up(self, features: tuple[int, ...] = ()) -> None:
        pass

    def prepare(self) -> bool:
        return False

    def run(self, batch: Batch) -> Pass:
        tokens, slots, starts, keep = batch.tokens, batch.slots, batch.starts, batch.keep
        assert tokens.dtype == torch.int64
        rows, width = tokens.shape
        assert len(slots) == len(starts) == rows
        assert len(set(slots)) == rows
        assert 0 <= keep <= width
        assert int(tokens.min()) >= 0
        assert int(tokens.max()) < self.info.vocab_size
        self.calls.append((rows, width, keep))
        logits = torch.zeros(rows, keep, VOCAB)
        for row, (slot, start) in enumerate(zip(slots, starts, strict=True)):
            held = self.cache[slot]
            assert start >= 0 and (held[:start] >= 0).all(), "a gap in the cache"
            assert start + width <= len(held), "beyond the cache"
            held[start:] = -1
            held[start : start + width] = tokens[row]
            for i in range(keep):
                logits[row, i] = scores(held[: start + width - keep + i + 1].tolist())
        return Pass(logits[..., : self.info.vocab_size])

    def keys_values(self, slot: int, start: int, end: int) -> tuple[Tensor, ...]:
        return (self.cache[slot, start:end].view(-1, 1),)

    @property
    def forwarded(self) -> int:
        """Positions computed so far."""
        return sum(batch * width for batch, width, _ in self.calls)


def drafter_of(model: ScriptedModel, vocab_size: int = VOCAB) -> DraftModelDrafter:
    checked: Model = model
    return DraftModelDrafter(checked, vocab_size, CPU)


def propose(drafter: DraftModelDrafter, *contexts: DraftContext, k: int = 4) -> list[list[int]]:
    return rows(drafter.propose(round_of(contexts), k))


def test_is_a_drafter() -> None:
    drafter: Drafter = drafter_of(ScriptedModel())
    assert (drafter.name, drafter.free) == ("model", False)


def test_drafts_what_the_model_says() -> None:
    prompt = [3, 1, 4, 1, 5]
    model = ScriptedModel()
    drafts = drafter_of(model).propose(round_of([context(prompt)]), 4)
    assert rows(drafts) == [greedy(prompt, 4)]
    assert drafts.sources == ("model",)
    assert drafts.probs is None
    assert model.calls == [(1, 5, 1), (1, 1, 1), (1, 1, 1), (1, 1, 1)]


def test_sampling_sees_what_was_drafted() -> None:
    sampling = GreedySampling()
    drafter_of(ScriptedModel()).propose(round_of([context([1, 2])], sampling), 3)
    first, second, _ = greedy([1, 2], 3)
    assert sampling.seen == [[[]], [[first]], [[first, second]]]


def test_accepted_drafts_are_not_run_again() -> None:
    model, growing = ScriptedModel(), context([3, 1, 4, 1, 5])
    drafter = drafter_of(model)
    drafts = propose(drafter, growing)[0]
    # Two accepted and a recovered token: only that one is new.
    goes_on(drafter, growing, drafts[:2], (drafts[2] + 1) % VOCAB)
    model.calls.clear()
    assert propose(drafter, growing, k=2) == [greedy(growing.tokens, 2)]
    assert model.calls == [(1, 1, 1), (1, 1, 1)]
    # All accepted and a bonus token: the last draft was never run.
    goes_on(drafter, growing, greedy(growing.tokens, 2), 0)
    model.calls.clear()
    assert propose(drafter, growing, k=1) == [greedy(growing.tokens, 1)]
    assert model.calls == [(1, 2, 1)]


def test_asked_twice_for_the_same_place() -> None:
    drafter, same = drafter_of(ScriptedModel()), context([1, 2, 3])
    assert propose(drafter, same) == propose(drafter, same) == [greedy([1, 2, 3], 4)]


def test_one_token_prompt() -> None:
    assert propose(drafter_of(ScriptedModel()), context([7])) == [greedy([7], 4)]


def test_nothing_to_draft() -> None:
    model = ScriptedModel()
    drafts = drafter_of(model).propose(round_of([context([1])]), 0)
    assert drafts.tokens.shape == (1, 0)
    assert not model.calls


def test_random_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any mix of acceptance, other drafters' rounds, slots that come and go, lags, and a draft context too short."""
    monkeypatch.setattr(drafting, "_CHUNK", 5)
    for seed in range(60):
        rng = random.Random(seed)
        model = ScriptedModel(context=60)
        drafter = drafter_of(model)
        live: dict[int, DraftContext] = {}
        for sequence in range(25):
            slot = rng.randrange(4)
            if slot not in live or rng.random() < 0.3:
                if slot in live:
                    drafter.release(live[slot])
                shared = live[slot].tokens[: rng.randrange(9)] if slot in live else []
                fresh = [rng.randrange(VOCAB) for _ in range(rng.randrange(1, 40))]
                live[slot] = context([*shared, *fresh], sequence=sequence, slot=slot)
            chosen = rng.sample(list(live.values()), rng.randrange(1, len(live) + 1))
            k = rng.randrange(1, MAX_SPECULATIVE_TOKENS + 1)
            drafted = propose(drafter, *chosen, k=k)
            for c, row in zip(chosen, drafted, strict=True):
                assert row == (greedy(c.tokens, k) if len(c.tokens) <= 60 else []), (seed, sequence)
                goes_on(drafter, c, row[: rng.randrange(len(row) + 1)], rng.randrange(VOCAB))
            for c in live.values():  # rounds without this drafter
                if rng.random() < 0.2:
                    c.tokens += [rng.randrange(VOCAB) for _ in range(rng.randrange(25))]


def test_long_prompts_are_run_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drafting, "_CHUNK_ON_CPU", 20)
    model, long = ScriptedModel(), context([i % VOCAB for i in range(50)])
    assert propose(drafter_of(model), long, k=1) == [greedy(long.tokens, 1)]
    assert model.calls == [(1, 20, 0), (1, 20, 0), (1, 9, 0), (1, 1, 1)]


def test_catching_up_is_spread_over_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """While one sequence catches up the other drafts; what is caught up is kept."""
    monkeypatch.setattr(drafting, "CATCH_UP", 20)
    model = ScriptedModel()
    drafter = drafter_of(model)
    short, long = context([1, 2], slot=0), context([i % VOCAB for i in range(50)], sequence=2, slot=1)
    wanted = greedy(short.tokens, 4)
    assert [propose(drafter, long, short) for _ in range(3)] == [
        [[], wanted],
        [[], wanted],
        [greedy(long.tokens, 4), wanted],
    ]


def test_a_shared_prefix_of_the_slots_next_sequence_is_kept() -> None:
    model = ScriptedModel()
    drafter = drafter_of(model)
    first = context([*range(20)])
    answer = propose(drafter, first)[0]
    goes_on(drafter, first, answer[:3], 9)
    drafter.release(first)
    model.calls.clear()
    # The next turn of a chat: the old prompt, three drafts that were run, something new.
    following = context([*range(20), *answer[:3], 9, 9], sequence=2)
    assert propose(drafter, following, k=1) == [greedy(following.tokens, 1)]
    assert model.calls == [(1, 2, 1)]


def test_beyond_the_draft_models_context_there_are_no_drafts() -> None:
    model = ScriptedModel(context=8)
    drafter = drafter_of(model)
    fits, large = context([1] * 8, slot=0), context([2] * 9, sequence=2, slot=1)
    assert propose(drafter, large, fits, k=16) == [[], greedy(fits.tokens, 16)]
    assert propose(drafter, large) == [[]]


def test_noise_is_drawn_with() -> None:
    noise = torch.randn(1, 3, VOCAB, generator=torch.Generator().manual_seed(0)) * 5
    drafts = drafter_of(ScriptedModel()).propose(round_of([context([1, 2])], noise=noise), 3)
    tokens = [1, 2]
    for j in range(3):
        tokens.append(int((scores(tokens) + noise[0, j]).argmax()))
    assert rows(drafts) == [tokens[2:]]


def test_q_is_the_distribution_drawn_from() -> None:
    sampling = GreedySampling(torch.tensor([False, True]))
    noise = torch.zeros(2, 2, VOCAB)
    contexts = [context([1, 2], slot=0), context([3], sequence=2, slot=1)]
    drafts = drafter_of(ScriptedModel()).propose(round_of(contexts, sampling, noise, need_probs=True), 2)
    assert drafts.probs is not None
    assert drafts.probs.dtype == torch.float32
    drafted = drafts.tokens.tolist()
    assert torch.equal(drafts.probs[0, 0], scores([1, 2]).softmax(-1))
    assert torch.equal(drafts.probs[0, 1], scores([1, 2, drafted[0][0]]).softmax(-1))
    assert torch.equal(drafts.probs[1], torch.nn.functional.one_hot(drafts.tokens[1], VOCAB).float())


def test_narrow_draft_vocabulary() -> None:
    """Ids that only the target has are never drafted, and may stand in the prompt."""
    model = ScriptedModel(vocab_size=VOCAB)
    drafter = drafter_of(model, VOCAB + 5)
    drafts = drafter.propose(round_of([context([1, VOCAB + 4])], need_probs=True), 2)
    assert rows(drafts) == [greedy([1, VOCAB - 1], 2)]
    assert drafts.probs is not None
    assert drafts.probs.shape == (1, 2, VOCAB + 5)
    assert not drafts.probs[..., VOCAB:].any()


def test_wide_draft_vocabulary() -> None:
    drafts = drafter_of(ScriptedModel(), 10).propose(round_of([context([1, 2])], need_probs=True), 4)
    assert int(drafts.tokens.max()) < 10
    assert drafts.probs is not None
    assert torch.allclose(drafts.probs.sum(-1), torch.ones(1, 4))


def test_all_known_ids_masked_still_gives_a_distribution() -> None:
    class Masked(GreedySampling):
        def process(self, logits: Tensor, drafted: Tensor, first: int) -> Tensor:
            return torch.full_like(logits, float("-inf"))

    drafts = drafter_of(ScriptedModel()).propose(round_of([context([1])], Masked(), need_probs=True), 2)
    assert drafts.probs is not None
    assert torch.equal(drafts.probs, torch.nn.functional.one_hot(drafts.tokens, VOCAB).float())


def test_broken_logits_are_not_drafted() -> None:
    class Broken(ScriptedModel):
        def run(self, batch: Batch) -> Pass:
            logits = super().run(batch).logits
            logits[..., 0] = float("nan")
            logits[..., 1] = float("inf")
            return Pass(logits)

    drafts = drafter_of(Broken()).propose(round_of([context([1])], need_probs=True), 2)
    assert rows(drafts) == [[1, 1]]
    assert drafts.probs is not None
    assert drafts.probs.isfinite().all()


def test_real_sampling_batches_fit() -> None:
    """Penalties count what was drafted in this round."""
    params = SamplingParams(temperature=0.0, presence_penalty=2.0, frequency_penalty=2.0).with_defaults({})
    batch = SamplingBatch([SamplerState(params, 0, [1, 2], frozenset(), VOCAB, CPU)])
    drafts = drafter_of(ScriptedModel()).propose(round_of([context([1, 2])], batch, need_probs=True), 6)
    tokens = [1, 2]
    for _ in range(6):
        raw = scores(tokens)
        for token in set(tokens[2:]):
            raw[token] -= 2.0 + 2.0 * tokens[2:].count(token)
        tokens.append(int(raw.argmax()))
    assert rows(drafts) == [tokens[2:]]


def test_a_prefix_that_another_slot_computed_is_not_run_again() -> None:
    model = ScriptedModel()
    model.state.prefixes.limit = 100 * 8
    drafter = drafter_of(model)
    first = context([*range(20)])
    answer = propose(drafter, first)[0]
    goes_on(drafter, first, answer[:2], 9)
    drafter.release(first)
    drafter.propose(round_of([context([5] * 30, sequence=2, slot=0)]), 1)  # overwrites what the slot held
    model.calls.clear()
    following = context([*first.tokens, 9], sequence=3, slot=2)
    assert propose(drafter, following, k=1) == [greedy(following.tokens, 1)]
    assert model.calls == [(1, 2, 1)]
