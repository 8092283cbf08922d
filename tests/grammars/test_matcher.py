"""Masks at every position, what outranks what, and the distribution that comes out of drafting under them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
import torch
from scipy import stats
from torch import Tensor

from specdec.grammars.compiler import GrammarCompiler
from specdec.grammars.matcher import Matcher, ban, fill_masks, unpack
from specdec.sampling.batch import SamplingBatch
from specdec.sampling.processors import NEVER
from specdec.sampling.state import SamplerState
from specdec.types import Grammar
from tests.decoding.toy import EOS, VOCAB
from tests.grammars.building import ids, matcher, without
from tests.sampling.harness import CERTAIN, CPU, RULES, Simulation, Toy, resolved

NONE = torch.empty(1, 0, dtype=torch.long)


def _state(grammar: Matcher | None, **params: object) -> SamplerState:
    return SamplerState(resolved(**params), 0, [0], frozenset({EOS}), VOCAB, CPU, grammar)


def _allowed(rows: Tensor) -> list[list[int]]:
    """The ids of each row of [M, V] bool."""
    return [row.nonzero().flatten().tolist() for row in rows]


def _letters(text: str, *, end: bool = False) -> list[int]:
    return sorted([*ids(text), *([EOS] if end else [])])


def test_the_mask_of_every_drafted_position_is_what_the_language_allows() -> None:
    language = {"".join(w) for n in range(1, 5) for w in itertools.product("abc", repeat=n) if "cc" not in "".join(w)}
    grammar = matcher("|".join(sorted(language, key=len)))
    for text in ("abca", "cbac", "aaaa"):
        drafted = ids(text)
        allowed = _allowed(unpack(fill_masks([grammar], [drafted], 0, 5, pinned=False), VOCAB)[0])
        for i, tokens in enumerate(allowed):
            prefix = text[:i]
            following = {w[i] for w in language if w.startswith(prefix) and len(w) > i}
            assert tokens == _letters("".join(following), end=prefix in language), prefix
    assert _allowed(unpack(fill_masks([grammar], [()], 0, 1, pinned=False), VOCAB)[0]) == [_letters("abc")]


def test_a_draft_step_sees_the_mask_of_its_verify_position() -> None:
    grammars = [matcher("(ab|ac){1,4}d?"), matcher(Grammar.choice(["abacus", "abba"]))]
    drafted = [ids("abac"), ids("abba")]
    verify = fill_masks(grammars, drafted, 0, 5, pinned=False)
    for j in range(5):
        step = fill_masks(grammars, [row[:j] for row in drafted], j, 1, pinned=False)
        assert torch.equal(step[:, 0], verify[:, j])


def test_a_forbidden_draft_changes_nothing_and_what_follows_it_is_not_masked() -> None:
    grammar = matcher("ab*c")
    masks = fill_masks([grammar], [ids("axbb")], 0, 5, pinned=False)
    assert _allowed(unpack(masks, VOCAB)[0, :2]) == [_letters("a"), _letters("bc")]
    assert (masks[0, 2:] == -1).all()
    assert (fill_masks([grammar], [ids("ax")], 2, 1, pinned=False) == -1).all()
    assert [grammar.allowed(ids(text)) for text in ("axbb", "abbc")] == [1, 4]


def test_commit_moves_on_and_progress_does_not() -> None:
    grammar = matcher("ab?c")
    assert grammar.progress(ids("abc")) == (3, True)
    assert grammar.progress(ids("abcc")) == (3, True)
    assert (grammar.progress(ids("ab")), grammar.progress(())) == ((2, False), (0, False))
    grammar.commit(ids("ab"))
    assert grammar.progress(ids("c")) == (1, True)
    assert _allowed(unpack(fill_masks([grammar], [()], 0, 1, pinned=False), VOCAB)[0]) == [_letters("c")]


def _process(states: Sequence[SamplerState], logits: Tensor, drafted: Tensor) -> Tensor:
    return SamplingBatch(states).process(logits, drafted, 0)


def test_masked_is_never_and_the_rest_stays_bit_for_bit() -> None:
    logits = torch.randn(2, 3, VOCAB, generator=torch.Generator().manual_seed(0))
    before = logits.clone()
    drafted = torch.tensor([ids("ab"), ids("zz")])
    out = _process([_state(matcher("(a|b)+c"), temperature=1.0), _state(None, temperature=1.0)], logits, drafted)
    assert torch.equal(logits, before)
    assert torch.equal(out[1], logits[1])
    for i, letters in enumerate(("ab", "abc", "abc")):
        kept = torch.zeros(VOCAB, dtype=torch.bool)
        kept[list(ids(letters))] = True
        assert torch.equal(out[0, i][kept], logits[0, i][kept])
        assert (out[0, i][~kept] == NEVER).all()
    alone = _process([_state(matcher("(a|b)+c"), temperature=1.0)], logits[:1], drafted[:1])
    assert torch.equal(alone[0], out[0])


SHAPED: dict[str, object] = {"temperature": 0.7, "top_k": 9, "top_p": 0.9, "min_p": 0.01, "repetition_penalty": 1.4,
          "frequency_penalty": 0.5, "logit_bias": {5: 100.0}}  # fmt: skip


def test_no_other_parameter_brings_back_what_is_masked() -> None:
    logits = torch.randn(1, 3, VOCAB, generator=torch.Generator().manual_seed(1)) * 4
    drafted = torch.tensor([ids("ab")])
    out = _process([_state(matcher("[a-p]+"), **SHAPED)], logits, drafted)
    masked = logits.clone()
    for i in range(3):
        kept = list(ids("abcdefghijklmnop")) + ([EOS] if i else [])
        masked[0, i, [t for t in range(VOCAB) if t not in kept]] = NEVER
    assert torch.equal(out, _process([_state(None, **SHAPED)], masked, drafted))


def test_min_tokens_forbids_the_end_unless_nothing_else_is_allowed() -> None:
    logits = torch.zeros(1, 4, VOCAB)
    state = _state(matcher("ab{0,2}"), temperature=1.0, min_tokens=3)
    out = _process([state], logits, torch.tensor([ids("abb")]))
    assert _allowed(out[0] > NEVER) == [_letters("a"), _letters("b"), _letters("b"), [EOS]]
    tight = _state(matcher("ab"), temperature=1.0, min_tokens=9)
    assert _allowed(_process([tight], logits, torch.tensor([ids("abb")]))[0, :3] > NEVER)[2] == [EOS]


def test_ignore_eos_ends_only_what_is_complete() -> None:
    state = _state(matcher("ab*", ignore_eos=True), temperature=1.0)
    out = _process([state], torch.zeros(1, 3, VOCAB), torch.tensor([ids("ab")]))
    assert _allowed(out[0] > NEVER) == [_letters("a"), _letters("b"), _letters("b")]


def test_every_bit_of_a_mask() -> None:
    for token in range(70):
        mask = torch.full((3,), -1, dtype=torch.int32)
        ban(mask, [token])
        assert _allowed(~unpack(mask, 96).view(1, -1)) == [[token]]
        one = torch.zeros(3, dtype=torch.int32)
        one.numpy()[token // 32] = -(1 << 31) if token % 32 == 31 else 1 << token % 32
        ban(one, [token])
        assert _allowed(unpack(one, 90).view(1, -1)) == [[token]]


def test_where_the_vocabulary_cannot_go_on_the_answer_is_stuck_and_a_draft_is_not() -> None:
    """An unwritable letter is met by a draft first, and by the answer itself only if it goes there."""
    tokenizer = without("z")
    grammars = GrammarCompiler(tokenizer, tokenizer.vocab_size, tokenizer.eos_ids)
    bad, good = tokenizer.encode_plain("ab"), tokenizer.encode_plain("ac")
    grammar = grammars.matcher(Grammar.regex("abz|acd"), ignore_eos=False)
    for _ in range(2):
        assert (fill_masks([grammar], [bad], 0, 3, pinned=False)[0, 2] == -1).all()
    assert grammar.progress([*bad, 7]) == (2, False)
    assert grammar.progress([*good, 7]) == (2, False)
    assert grammar.progress(good) == (len(good), False)
    grammar.commit(good)
    masks = fill_masks([grammar], [()], 0, 1, pinned=False)
    assert _allowed(unpack(masks, tokenizer.vocab_size)[0]) == [tokenizer.encode_plain("d")]


@pytest.mark.parametrize("rule", ["coupled", "rejection"])
@pytest.mark.parametrize("certain", [False, True])
def test_chi_square_of_drafted_tokens_against_the_masked_distribution(rule: str, certain: bool) -> None:
    """All texts of three letters under a grammar whose mask depends on what was drawn."""
    generator = torch.Generator().manual_seed(3)
    target, draft = (Toy(torch.randn(3, 1, VOCAB, generator=generator) * 1.5) for _ in range(2))
    words = ["".join(w) for w in itertools.product("abcd", repeat=3) if w[0] < w[1] or w[2] == "a"]
    trials = 3000
    judge = CERTAIN if certain and rule == "rejection" else RULES[rule]
    run = Simulation(target, draft, resolved(temperature=0.8), 2, 3, judge, certain=certain, ragged=True,
                     grammar=lambda: matcher(f"({'|'.join(words)})x*"))  # fmt: skip
    drawn = run.run(range(trials))
    exact = {w: _chance(target, w, words, 0.8) for w in words}
    assert sum(exact.values()) == pytest.approx(1)
    observed = {w: int((drawn == torch.tensor(ids(w))).all(1).sum()) for w in words}
    assert sum(observed.values()) == trials
    assert run.accepted > 0
    kept = [w for w in words if exact[w] * trials > 5]
    rest = [w for w in words if exact[w] * trials <= 5]
    seen = [observed[w] for w in kept] + [sum(observed[w] for w in rest)]
    wanted = [exact[w] * trials for w in kept] + [sum(exact[w] for w in rest) * trials]
    assert stats.chisquare(seen[: len(seen) - (not rest)], wanted[: len(seen) - (not rest)]).pvalue > 1e-4


def _chance(target: Toy, word: str, words: Sequence[str], temperature: float) -> float:
    chance = 1.0
    for i in range(3):
        following = list(ids("".join(sorted({w[i] for w in words if w.startswith(word[:i])}))))
        scores = target.tables[i % 3, 0].double()[following] / temperature
        chance *= float(scores.softmax(0)[following.index(ids(word[i])[0])])
    return chance
