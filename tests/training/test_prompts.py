"""Which prompts are learnt from, and which lines of a file are none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from typing import Any

import pytest

from specdec.bench.prompts import BenchPrompt
from specdec.engine import Deliver
from specdec.errors import InvalidRequest
from specdec.training import TrainingOptions, shipped, train
from specdec.training.answering import AnswerTask, answer_all
from specdec.training.answers import Answered, AnswerFile
from specdec.training.prompts import TrainingPrompts, key_of, plain, read_files
from specdec.types import GenerationEvent, Message, Request, Token
from tests.fakes import SCRIPTED_INFO, ScriptedEngine


def prompt(text: str) -> BenchPrompt:
    return BenchPrompt("chat", (Message("user", text),))


def test_broken_lines_are_named_and_skipped(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    lines = [
        b'\xef\xbb\xbf{"prompt": "one"}',
        b"{broken",
        b"",
        b'{"nothing": 1}',
        b"\xff\xfe",
        b'{"messages": [{"role": "wizard", "content": "x"}]}',
        b'{"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]}',
        b'{"messages": [{"role": "user", "content": "two"}], "category": "code"}',
        b"3",
        b'{"prompt": "x", "tools": ["y"]}',
        b'{"messages": [{"role": "tool", "content": "x"}]}',
        b'{"messages": [{"role": "assistant", "content": "y"}]}',
    ]
    file.write_bytes(b"\n".join(lines))
    found, skipped = read_files([file])
    assert [(p.category, p.messages[-1].content) for p in found] == [("mine", "one"), ("mine", "x"), ("code", "two")]
    assert [line.number for line in skipped] == [2, 4, 5, 6, 9, 10, 11, 12]
    assert str(skipped[0]).startswith(f"{file}:2: no prompt")


def test_files_without_a_prompt_are_not_replaced_by_our_prompts(tmp_path: Path) -> None:
    (tmp_path / "broken.jsonl").write_text("{broken")
    with pytest.raises(InvalidRequest, match="a file with prompts"):
        train("bundled", tmp_path / "out", data=[tmp_path / "broken.jsonl"])


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="a file that can be read"):
        read_files([tmp_path / "nothing.jsonl"])


def test_parts_share_nothing_and_do_not_depend_on_other_prompts() -> None:
    prompts = [prompt(f"number {i}") for i in range(400)]
    parts, fewer = TrainingPrompts.of(prompts + prompts[:9]), TrainingPrompts.of(prompts[:200])
    assert len(parts.learn) + len(parts.judge) == 400 and 10 < len(parts.judge) < 45
    assert not set(map(key_of, parts.learn)) & set(map(key_of, parts.judge))
    assert set(map(key_of, fewer.judge)) <= set(map(key_of, parts.judge))


def test_ours_come_behind_the_users() -> None:
    own, ours = ([prompt(f"{whose} {i}") for i in range(40)] for whose in ("own", "ours"))
    parts = TrainingPrompts.of(own, [*ours, own[0]])
    for part in (parts.learn, parts.judge):
        whose = [(p.messages[0].content or "").split()[0] for p in part]
        assert whose == sorted(whose, reverse=True) and set(whose) == {"own", "ours"}

    few = TrainingPrompts.of(own[:2], ours)
    assert {few.learn[0], few.judge[0]} == set(own[:2])


def test_prompts_that_say_the_same_are_in_one_part() -> None:
    prompts = [prompt(text) for i in range(100) for text in (f"How far is {i}?", f"how far is  {i} ...")]
    parts = TrainingPrompts.of(prompts)
    said = [{plain(p.messages[0].content or "") for p in part} for part in (parts.learn, parts.judge)]
    assert not said[0] & said[1] and len(parts.learn) + len(parts.judge) == 200


def test_two_prompts_are_enough_and_one_is_not() -> None:
    parts = TrainingPrompts.of([prompt("a"), prompt("b")])
    assert len(parts.learn) == len(parts.judge) == 1
    with pytest.raises(InvalidRequest, match="at least two different prompts"):
        TrainingPrompts.of([prompt("a"), prompt("a")])


def test_what_makes_no_sense_is_refused() -> None:
    for field, wrong in {"minutes": float("inf"), "layers": 2}.items():
        with pytest.raises(InvalidRequest, match=field):
            TrainingOptions(target="t", out=Path("o"), kind="eagle3", **{field: wrong})  # type: ignore[arg-type]


def test_what_is_shipped_is_varied_and_the_same_for_a_seed() -> None:
    found = list(islice(shipped.prompts(3), 900))
    assert found == list(islice(shipped.prompts(3), 900))
    assert len({p.category for p in found}) == 9
    assert len({key_of(p) for p in found}) > 700
    assert not any("{" in (m.content or "") for p in found for m in p.messages)
    parts = TrainingPrompts.of(found)
    asked = [{p.messages[-1].content for p in part} for part in (parts.learn, parts.judge)]
    assert not asked[0] & asked[1], "whatever stands before it"


def test_answers_outlive_a_line_that_was_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    file = AnswerFile(path)
    file.append(Answered("a", "chat", (1, 2), (3, 4)))
    file.append(Answered("b", "code", (1,), (5, 6)))
    path.write_bytes(path.read_bytes()[:-7])
    again = AnswerFile(path)
    assert again.known == {"a": Answered("a", "chat", (1, 2), (3, 4))}
    again.append(Answered("b", "code", (1,), (5, 6)))
    with path.open("a") as more:
        more.write('["c", "chat", ["x"], [1]]\n["d", "chat", [1], 2]\n["e", "chat", [1]]\n{}\n7\n')
    assert list(AnswerFile(path).known) == ["a", "b"], "lines of another kind are none"


class AtOnce(ScriptedEngine):
    """Has each answer ready when it was asked."""

    def submit(self, request: Request, deliver: Deliver) -> Callable[[], None]:
        for event in self.stream(request):
            deliver(event)
        return lambda: None


def test_answers_that_end_together_are_one_look_at_the_clock_and_one_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine has less time, the more often the thread beside it does something."""
    looks, writes, append = count(1), list[int](), AnswerFile.append

    def noting(self: AnswerFile, *answers: Answered) -> None:
        writes.append(len(answers))
        append(self, *answers)

    monkeypatch.setattr(AnswerFile, "append", noting)
    file = AnswerFile(tmp_path / "answers.jsonl")
    task = AnswerTask(greedy=True, longest=8, length=64, seed=0)
    asked = [prompt(f"question {number}") for number in range(50)]
    with AtOnce(info=replace(SCRIPTED_INFO, slots=10)) as engine:
        answer_all(engine, asked, file, task, lambda: next(looks) > 0)
    assert writes == [10] * 5
    assert next(looks) == 1 + 6
    assert list(AnswerFile(file.path).known) == [key_of(one) for one in asked]


class Slow(ScriptedEngine):
    """Comes to no answer's end: of the first prompt's it says 20 tokens, of the others' three."""

    said = 20

    def submit(self, request: Request, deliver: Deliver) -> Callable[[], None]:
        self.requests.append(request)
        tokens = tuple(Token(i, "a", "plain") for i in range(self.said))
        deliver(GenerationEvent(request.id, tokens=tokens))
        self.said = 3
        return lambda: None


def test_an_answer_for_which_time_ran_out_is_kept_as_far_as_it_came(tmp_path: Path) -> None:
    looks, file = iter([True, False]), AnswerFile(tmp_path / "answers.jsonl")
    task = AnswerTask(greedy=False, longest=32, length=64, seed=0)
    with Slow() as engine:
        answer_all(engine, [prompt("one"), prompt("two")], file, task, lambda: next(looks))
    assert [(a.key, a.answer) for a in file.known.values()] == [(key_of(prompt("one")), tuple(range(20)))]


@pytest.mark.parametrize(("every", "ends"), [(45.0, KeyboardInterrupt), (0.0, MemoryError)])
def test_an_answer_under_way_outlives_the_process(
    every: float, ends: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C, or a machine that dies: it goes on from there, with the chance that it would have had."""
    monkeypatch.setattr("specdec.training.answering._KEPT_EVERY", every)
    looks, path = count(), tmp_path / "answers.jsonl"
    task = AnswerTask(greedy=False, longest=32, length=64, seed=0)

    def go_on() -> bool:
        file.seconds += 60
        if next(looks) == 2:
            raise ends
        return True

    with Slow() as engine:
        file = AnswerFile(path)
        with pytest.raises(ends):
            answer_all(engine, [prompt("one")], file, task, go_on)
        again = AnswerFile(path)
        assert not again.known and again.seconds >= 120
        answer_all(engine, [prompt("one")], again, task, iter([True, False]).__next__)
        first, second = engine.requests
    whole = AnswerFile(path).known[key_of(prompt("one"))]
    assert whole.answer == (*range(20), *range(3))
    assert second.prompt == (*first.prompt, *range(20))
    assert (first.sampling.max_tokens, second.sampling) == (32, replace(first.sampling, max_tokens=12))


class Held(ScriptedEngine):
    """Ends answers when it is told to."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.held: list[tuple[Request, Deliver]] = []

    def submit(self, request: Request, deliver: Deliver) -> Callable[[], None]:
        self.held.append((request, deliver))
        return lambda: None

    def end(self, count: int) -> None:
        for request, deliver in self.held[:count]:
            for event in self.stream(request):
                deliver(event)
        del self.held[:count]


def test_slots_get_their_next_prompts_in_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("specdec.training.answering._WAIT", 0.0)
    task, held = AnswerTask(greedy=True, longest=8, length=64, seed=0), list[int]()
    with Held(info=replace(SCRIPTED_INFO, slots=32)) as engine:

        def go_on() -> bool:
            engine.end(1)
            held.append(len(engine.held))
            return len(held) < 8

        answer_all(engine, [prompt(f"{n}") for n in range(40)], AnswerFile(tmp_path / "a"), task, go_on)
    assert held == [0, 31, 30, 29, 28, 27, 30, 29], "four were asked for together"
