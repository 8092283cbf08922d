"""Prompts that the target makes up, and where they begin and end."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from specdec.bench.prompts import BenchPrompt
from specdec.bundled import path
from specdec.engine import Deliver
from specdec.text.tokenizer import Tokenizer
from specdec.training.answering import AnswerTask, answer_all
from specdec.training.answers import AnswerFile
from specdec.training.made_up import CATEGORY, MadeUp, OpenTurn
from specdec.training.prompts import held_out, key_of
from specdec.types import Message, Request, Token
from tests.fakes import SCRIPTED_INFO, ScriptedEngine

EOS = frozenset({0, 2})


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.load(path("target"))


@pytest.fixture
def turn(tokenizer: Tokenizer) -> OpenTurn:
    found = OpenTurn.of(tokenizer, EOS)
    assert found is not None
    return found


def prompt(text: str) -> BenchPrompt:
    return BenchPrompt("chat", (Message("user", text),))


def test_a_turn_is_open_where_the_users_words_begin(tokenizer: Tokenizer, turn: OpenTurn) -> None:
    assert tokenizer.decode_window(turn.tokens) == "<|im_start|>user\n"
    assert [tokenizer.token_text(token) for token in turn.ends - EOS] == [], "its end of turn ends answers too"
    narrow = OpenTurn.of(tokenizer, frozenset())
    assert narrow and [tokenizer.token_text(token) for token in narrow.ends] == ["<|im_end|>"]


@pytest.mark.parametrize(
    ("template", "begins", "after"),
    [
        ("{% for m in messages %}[INST] {{ m.content }} [/INST]{% endfor %}", "[INST]", "[/INST]"),
        (None, "<|endoftext|>", ""),
        ("{{ raise_exception('no') }}", "<|endoftext|>", ""),
    ],
)
def test_a_turn_of_another_template_or_none(template: str | None, begins: str, after: str) -> None:
    tokenizer = Tokenizer.load(path("target"))
    tokenizer._backing.chat_template = template
    turn = OpenTurn.of(tokenizer, EOS)
    assert turn and tokenizer.decode_window(turn.tokens) == begins
    assert (turn.after, turn.ends, turn.chat) == (after, EOS, bool(after))


def taken(made_up: MadeUp, tokenizer: Tokenizer, said: str, *, end: tuple[int, ...] = (2,)) -> list[str]:
    """The prompts that come of these words."""
    words, _ = made_up.begin()
    made_up.take(replace(words, answer=(*tokenizer.encode_plain(said), *end)))
    found = [prompt.messages[0].content or "" for prompt in made_up.waiting]
    made_up.waiting.clear()
    return found


def test_words_become_prompts_unless_they_are_cut_off_too_short_or_known(tokenizer: Tokenizer, turn: OpenTurn) -> None:
    made_up = MadeUp(turn, tokenizer, [prompt("What is the  capital of France?")], "0")
    assert taken(made_up, tokenizer, " Tell me a story about bread. ") == ["Tell me a story about bread."]
    assert taken(made_up, tokenizer, "tell me a story about Bread.") == []
    assert taken(made_up, tokenizer, "what is the capital of france") == [], "that one is held out, or learnt from"
    assert taken(made_up, tokenizer, "Tell me a story about milk, and", end=()) == []
    assert taken(made_up, tokenizer, "ok") == taken(made_up, tokenizer, "") == taken(made_up, tokenizer, "\n" * 9) == []
    plain = MadeUp(replace(turn, after="[/INST]"), tokenizer, (), "0")
    assert taken(plain, tokenizer, "Is it cold today? [/INST] Yes, it", end=()) == ["Is it cold today?"]
    text = MadeUp(replace(turn, chat=False), tokenizer, (), "0")
    assert taken(text, tokenizer, "Once there was a bell in", end=()) == ["Once there was a bell in"]


def test_words_differ_and_a_target_without_any_is_left_alone(tokenizer: Tokenizer, turn: OpenTurn) -> None:
    made_up = MadeUp(turn, tokenizer, (), "0")
    seeds = {made_up.begin()[1].sampling.seed for _ in range(64)}
    assert len(seeds) == 64 and MadeUp(turn, tokenizer, (), "1").begin()[1].sampling.seed not in seeds
    for _ in range(64):
        assert made_up.pays
        taken(made_up, tokenizer, "no no no no no no", end=())
    assert not made_up.pays


class Imaginative(ScriptedEngine):
    """Has each answer ready when it was asked; as users' words it says what it is given."""

    def __init__(self, turn: OpenTurn, said: Iterable[tuple[int, ...]], **given: Any) -> None:
        super().__init__(**given)
        self.turn, self.said = turn, iter(said)

    def submit(self, request: Request, deliver: Deliver) -> Callable[[], None]:
        *before, last = self.stream(request)
        if request.prompt == self.turn.tokens:
            tokens = tuple(Token(token, "", "plain") for token in next(self.said))
            assert last.end is not None
            before, last = [], replace(last, tokens=tokens, end=replace(last.end, stop=2))
        for event in (*before, last):
            deliver(event)
        return lambda: None


def test_prompts_are_answered_then_again_with_other_seeds_then_made_up_ones(
    tokenizer: Tokenizer, turn: OpenTurn, tmp_path: Path
) -> None:
    """And nothing twice, also when it goes on later."""
    asked, held_out = [prompt(f"question {number}") for number in range(6)], prompt("Who knows the way to the sea?")
    texts = [f"Tell me a story about {number} birds" for number in range(60)]
    texts[5] = held_out.messages[0].content or ""
    path = tmp_path / "answers.jsonl"
    given = [key_of(one, again) for again in range(3) for one in asked]
    for wanted in (30, 50):
        file, said = AnswerFile(path), (tuple(tokenizer.encode_plain(text)) for text in texts)
        made_up = MadeUp(turn, tokenizer, [*asked, held_out], str(wanted))
        task = AnswerTask(greedy=False, longest=8, length=64, seed=0, times=3)

        def go_on(file: AnswerFile = file, wanted: int = wanted) -> bool:
            return len(file.known) < wanted

        with Imaginative(turn, said, info=replace(SCRIPTED_INFO, slots=4)) as engine:
            answer_all(engine, asked, file, task, go_on, made_up)
        seeds = [request.sampling.seed for request in engine.requests if request.prompt != turn.tokens]
        assert len(set(seeds)) == len(seeds)
        assert list(file.known)[: len(given)] == given
        assert len(path.read_text().splitlines()) == len(file.known) >= wanted
        assert file.by_category[CATEGORY] == len(file.known) - len(given)
        assert key_of(BenchPrompt(CATEGORY, held_out.messages)) not in file.known


def test_beside_prompts_that_come_with_us_they_take_turns_and_some_are_held_out(
    tokenizer: Tokenizer, turn: OpenTurn, tmp_path: Path
) -> None:
    ours, file = [prompt(f"question {number}") for number in range(60)], AnswerFile(tmp_path / "answers.jsonl")
    said = (tuple(tokenizer.encode_plain(f"Tell me a story about {number} birds")) for number in range(200))
    made_up = MadeUp(turn, tokenizer, ours, "0", by_turns=True)
    task = AnswerTask(greedy=False, longest=8, length=64, seed=0)
    with Imaginative(turn, said, info=replace(SCRIPTED_INFO, slots=4)) as engine:
        answer_all(engine, ours, file, task, lambda: len(file.known) < 100, made_up)
    keys = list(file.known)
    theirs = [key for key in keys if file.known[key].category == CATEGORY]
    assert sum(key in theirs for key in keys[:60]) > 15
    judged = [tuple(file.known[key].prompt) for key in theirs if held_out(key)]
    greedy = [tuple(request.prompt) for request in engine.requests if request.sampling.temperature == 0]
    assert sorted(greedy) == sorted(judged)
    assert 0 < len(judged) < len(theirs)
