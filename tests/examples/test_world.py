"""The generator of the bundled pair's world: seeded, never repeating, and true to its own contexts."""

from __future__ import annotations

import json
import re
from itertools import islice
from random import Random
from typing import Any

import pytest

from examples.train_pair.chat import END, START, document, render
from examples.train_pair.world import edits
from examples.train_pair.world.mix import stream
from examples.train_pair.world.passages import usable
from examples.train_pair.world.phrase import expand, sloppy
from examples.train_pair.world.sample import Sample
from examples.train_pair.world.schemas import valid
from examples.train_pair.world.stories import Wish, story_facts, tell
from examples.train_pair.world.structured import extract, from_words
from examples.train_pair.world.tooltalk import tool_chat
from examples.train_pair.world.words import person
from specdec.bundled import path

POOL = (
    "The old boat lay in the sand. Nobody had used it for years. Then Peter came with a brush, and soon it was blue.",
    "Rain fell all night long. In the morning the street was a river, and the children sailed paper boats on it.",
)


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    return list(islice(stream(11, POOL), 2000))


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(path("target"))


def test_same_seed_same_samples(samples: list[Sample]) -> None:
    assert list(islice(stream(11, POOL), 300)) == samples[:300]


def test_other_seed_other_samples(samples: list[Sample]) -> None:
    other = {document(s) for s in islice(stream(12, POOL), 2000)}
    same = [s for s in samples if document(s) in other and s.kind not in {"talk", "self", "facts"}]
    assert len(same) < 20  # a few short sums and lists may meet


def test_no_two_are_equal(samples: list[Sample]) -> None:
    assert len({document(s) for s in samples}) == len(samples)


def test_no_template_marks_are_left(samples: list[Sample]) -> None:
    for sample in samples:
        if sample.kind in {"story", "talk", "self", "facts", "summary", "writing", "plain"}:
            assert not re.search(r"[{}\[\]]", document(sample)), document(sample)


def test_quotes_stand_in_the_context(samples: list[Sample]) -> None:
    for sample in samples:
        told = "\n".join(m["content"] or "" for m in sample.messages if m["role"] != "assistant").lower()
        assert all(q.lower() in told for q in sample.quotes), sample


def test_turns_alternate_and_end_with_an_answer(samples: list[Sample]) -> None:
    for sample in samples:
        roles = [m["role"] for m in sample.messages if m["role"] not in {"system", "tool"}]
        assert not roles or roles[-1] == "assistant"
        assert all(m["content"] or m.get("tool_calls") for m in sample.messages)


@pytest.mark.parametrize("seed", range(300))
def test_a_story_honours_the_wish_and_its_facts(seed: int) -> None:
    rng = Random(seed)
    hero = person(rng)
    story = tell(rng, Wish(hero=hero, thing="violin"))
    assert hero.name in story.text
    if story.plot.name != "grow" and "{t}" in "".join(a for _, a in story.plot.facts):
        assert "violin" in story.text
    for ask, answer in story_facts(rng, story):
        assert "{" not in ask + answer
        told = {w for w in re.findall(r"[A-Z]\w+", answer) if w in {hero.name, story.slots["f"], story.slots["a"]}}
        assert all(name in story.text for name in told)


@pytest.mark.parametrize("seed", range(200))
def test_a_replaced_word_is_the_only_change(seed: int) -> None:
    task = edits.replace_word(Random(seed), POOL)
    old, new = _first_difference(task.user, task.answer)
    assert edits.swapped(task.answer, new, old) in task.user or new in task.user


def _first_difference(request: str, answer: str) -> tuple[str, str]:
    """A word of the answer that the request's text has otherwise."""
    words = re.findall(r"\w+", answer)
    text = re.findall(r"\w+", request)
    at = next((i for i in range(len(text)) if text[i : i + 1] == words[:1]), 0)
    pairs = zip(text[at:], words, strict=False)
    return next(((a, b) for a, b in pairs if a != b), (words[0], words[0]))


@pytest.mark.parametrize("maker", [edits.repeat, edits.one_sentence, edits.names_in])
def test_copied_answers_are_copies(maker: Any) -> None:
    for seed in range(100):
        task = maker(Random(seed), POOL)
        assert all(q in task.user for q in task.quotes)


def test_tool_calls_are_valid_under_the_offered_schema() -> None:
    for seed in range(600):
        sample = tool_chat(Random(seed))
        offered = {t["function"]["name"]: t["function"]["parameters"] for t in sample.tools}
        for message in sample.messages:
            for call in message.get("tool_calls", []):
                assert valid(call["function"]["arguments"], offered[call["function"]["name"]])


def test_json_answers_parse_and_fit_their_schema() -> None:
    for seed in range(300):
        for maker in (extract, from_words):
            task = maker(Random(seed))
            value = json.loads(task.answer)
            schemas = [
                json.loads(m) for m in re.findall(r'^(?:Schema: )?(\{"type": "object".*\})$', task.user, re.MULTILINE)
            ]
            assert all(valid(value, s) for s in schemas)


def test_fast_rendering_equals_the_template(samples: list[Sample], tokenizer: Any) -> None:
    for sample in (s for s in samples[:600] if s.messages):
        tools = sample.tools or None
        assert tokenizer.apply_chat_template(sample.messages, tools=tools, tokenize=False) == document(sample)
        asked = sample.messages[:-1]
        shown = tokenizer.apply_chat_template(asked, tools=tools, tokenize=False, add_generation_prompt=True)
        assert shown == render(asked, sample.tools, prompt=True)


def test_template_takes_arguments_as_text_and_words_beside_calls(tokenizer: Any) -> None:
    call = {"type": "function", "function": {"name": "look", "arguments": '{"at": "é"}'}}
    answer = {"role": "assistant", "content": "So:", "tool_calls": [call, call]}
    messages: Any = [{"role": "user", "content": "x"}, answer]
    shown = tokenizer.apply_chat_template(messages, tokenize=False)
    assert shown == render(messages)
    assert shown.count('{"name": "look", "arguments": {"at": "é"}}') == 2


def test_tool_marks_stay_visible_and_turn_marks_do_not(tokenizer: Any) -> None:
    ids = tokenizer.encode(f"{START}a <tool_call>b</tool_call>{END}")
    assert tokenizer.decode(ids, skip_special_tokens=True) == "a <tool_call>b</tool_call>"


def test_phrases_nest_and_fill() -> None:
    made = {expand(Random(i), "[a|b[c|d]] {x}", x=1) for i in range(50)}
    assert made == {"a 1", "bc 1", "bd 1"}


def test_sloppy_keeps_names() -> None:
    assert all("Zorvik" in sloppy(Random(i), "Where is Zorvik today?", ("Zorvik",)) for i in range(300))


def test_passages_with_markup_are_refused() -> None:
    assert usable(POOL[0])
    assert not usable(POOL[0] + " <b>")
