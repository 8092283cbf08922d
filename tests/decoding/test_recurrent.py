"""Models with recurrent state speculate, and their texts stay their own."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from specdec.decoding.assembly import assemble
from specdec.decoding.engine import LocalEngine
from specdec.models.loading import load_model
from specdec.text.tokenizer import Tokenizer
from specdec.types import Completion, LoadOptions
from tests.decoding.toy import byte_tokenizer
from tests.models import models

TOKENIZER = Tokenizer(byte_tokenizer())
SAMPLING: tuple[dict[str, Any], ...] = ({"temperature": 0.0}, {"temperature": 0.9, "seed": 4, "top_k": 20})
PROMPT = [5, 9, 17, 5, 9, 17, 5, 9]
LENGTHS: tuple[Any, ...] = (4, 16, "auto")


@pytest.fixture(scope="module", params=[*models.HYBRID, "jamba"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalEngine]:
    folder = models.save(models.build(request.param), tmp_path_factory.mktemp("model"))
    target = load_model(folder, device="cpu", context=96, slots=2)
    with assemble(
        LoadOptions("tiny", remember=0), target, None, Tokenizer(byte_tokenizer()), eos_ids=frozenset()
    ) as engine:
        yield engine


def _ids(engine: LocalEngine, prompt: list[int], **options: Any) -> tuple[int, ...]:
    return engine.generate(prompt, max_tokens=32, **options).token_ids


@pytest.mark.parametrize("sampling", SAMPLING, ids=["greedy", "seeded"])
def test_the_same_text(engine: LocalEngine, sampling: dict[str, Any]) -> None:
    answer = engine.generate(PROMPT, max_tokens=32, **sampling, speculative="off")
    plain, guess = answer.token_ids, answer.text[:12] + "!"  # right for long, then wrong
    for length in LENGTHS:
        assert _ids(engine, PROMPT, **sampling, speculative=length) == plain, length
        assert _ids(engine, PROMPT, **sampling, speculative=length, prediction=guess) == plain, length


def test_drafts_are_accepted(engine: LocalEngine) -> None:
    """Lookup is right where an answer repeats itself, as one that a bias holds down must."""
    options: dict[str, Any] = {"temperature": 0.0, "logit_bias": {7: 50.0}}
    plain = engine.generate(PROMPT, max_tokens=32, **options, speculative="off")
    fast = engine.generate(PROMPT, max_tokens=32, **options, speculative=4)
    assert fast.token_ids == plain.token_ids
    assert fast.stats.accepted >= 12
    assert fast.stats.off_reason is None or fast.stats.speculation.why == "requested"


def test_two_at_once_and_one_after_another(engine: LocalEngine) -> None:
    prompts = [[*PROMPT, i] for i in range(5)]
    plain = [_ids(engine, prompt, temperature=0.9, seed=i, speculative="off") for i, prompt in enumerate(prompts)]

    def again(i: int) -> tuple[int, ...]:
        return _ids(engine, prompts[i], temperature=0.9, seed=i, speculative=LENGTHS[i % 3])

    with ThreadPoolExecutor(5) as pool:
        assert list(pool.map(again, range(5))) == plain


def test_a_conversation_goes_on_from_what_is_held(engine: LocalEngine) -> None:
    answer = engine.generate(PROMPT, max_tokens=12, temperature=0.0, speculative=4)
    longer = [*PROMPT, *answer.token_ids, 3, 4]
    following = engine.generate(longer, max_tokens=8, temperature=0.0, speculative=4)
    assert (following.usage.cached_tokens or 0) >= len(PROMPT)
    assert following.token_ids == _ids(engine, longer, temperature=0.0, speculative="off")[:8]


def test_a_prompt_asked_again_is_not_read_again(engine: LocalEngine) -> None:
    """All but its last token, whose logits are wanted: in whatever slot, and while the first answer is written."""
    prompt = [*range(3, 43), 7]
    first = engine.generate(prompt, max_tokens=20, temperature=0.0, speculative=4)
    again = engine.generate(prompt, max_tokens=20, temperature=0.0, speculative="off")
    assert again.usage.cached_tokens == len(prompt) - 1
    assert again.token_ids == first.token_ids
    streams = [engine.stream([9, *prompt], max_tokens=20, temperature=0.0, ignore_eos=True) for _ in range(2)]
    begun = [next(iter(stream)) for stream in streams]
    both = [Completion.of([event, *stream]) for event, stream in zip(begun, streams, strict=True)]
    assert both[1].usage.cached_tokens == len(prompt)
    assert both[0].token_ids == both[1].token_ids
