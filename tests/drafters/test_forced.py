"""GrammarDrafter: what the grammar forces, no more, and accepted with certainty."""

from __future__ import annotations

import torch

from specdec.drafters.forced import GrammarDrafter
from specdec.grammars.matcher import Matcher
from specdec.sampling.batch import SamplingBatch
from specdec.sampling.state import SamplerState
from specdec.types import Grammar
from tests.decoding.toy import VOCAB
from tests.drafters.rounds import context, round_of, rows
from tests.grammars.building import ids, matcher
from tests.sampling.harness import CPU, resolved

SCHEMA = Grammar.json_schema(
    {
        "type": "object",
        "properties": {"name": {"enum": ["ann", "anton"]}},
        "required": ["name"],
        "additionalProperties": False,
    }
)


def _batch(*grammars: Matcher | None) -> SamplingBatch:
    return SamplingBatch([SamplerState(resolved(), 0, [0], frozenset(), VOCAB, CPU, grammar) for grammar in grammars])


def _propose(batch: SamplingBatch, k: int = 16) -> list[list[int]]:
    contexts = [context([1, 2], sequence=i, slot=i) for i in range(len(batch.states))]
    drafts = GrammarDrafter().propose(round_of(contexts, batch), k)
    assert drafts.tokens.shape == (len(contexts), k)
    assert drafts.sources == tuple(f"grammar/{'forced' if n else 'none'}" for n in drafts.lengths)
    return rows(drafts)


def test_proposes_up_to_the_first_choice() -> None:
    assert _propose(_batch(matcher(SCHEMA))) == [list(ids('{"name": "an'))]
    assert _propose(_batch(matcher(SCHEMA)), k=3) == [list(ids('{"n'))]


def test_goes_on_from_what_was_committed() -> None:
    batch = _batch(matcher(SCHEMA))
    batch.states[0].commit(ids('{"name": "ann'))
    assert _propose(batch) == [list(ids('"}'))]
    other = _batch(matcher(SCHEMA))
    other.states[0].commit(ids('{"name": "ant'))
    assert _propose(other) == [list(ids('on"}'))]


def test_proposes_nothing_where_nothing_is_forced() -> None:
    assert _propose(_batch(None, None)) == [[], []]
    assert _propose(_batch(None, matcher("[ab]c"), matcher("abc[de]"))) == [[], [], list(ids("abc"))]
    done = _batch(matcher("ab"))
    done.states[0].commit(ids("ab"))
    assert _propose(done) == [[]]


def test_what_is_forced_in_byte_tokens_is_all_that_the_target_may_say() -> None:
    batch = _batch(matcher(SCHEMA))
    (row,) = _propose(batch)
    logits = batch.process(torch.randn(1, len(row), VOCAB), torch.tensor([row]), 0)
    assert (logits[0] > float("-inf")).sum(-1).tolist() == [1] * len(row)
    assert logits[0].argmax(-1).tolist() == row
