"""Whole trainings, of a tiny target that says the same over and over."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import count, pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

import specdec
from specdec.bench.prompts import BenchPrompt
from specdec.cli import app
from specdec.cli.train import _drafted_before, _sentence, chatted
from specdec.errors import InvalidRequest, TrainingFailed, UnsupportedModel
from specdec.models.eager.model import EagerModel
from specdec.training import TrainingOptions, TrainingProgress, TrainingResult, TrainingScore, train
from specdec.training.answers import Answered, AnswerFile
from specdec.training.dflash import BlockLearner
from specdec.training.judging import judge
from specdec.training.loop import TrainingLoop, TrainingState
from specdec.training.made_up import CATEGORY, MadeUp, Words
from specdec.training.optimiser import Optimiser
from specdec.training.prompts import TrainingPrompts, held_out, key_of
from specdec.types import Message
from specdec_tui.core.conversation import Conversation
from specdec_tui.core.store import Store
from tests.drafters.heads.building import Sizes, head
from tests.random_weights import make_random_target

ASKED = [BenchPrompt("count", (Message("user", f"Say {i} again."),)) for i in range(24)]
TOKENS = 24 * 22 * 3


@pytest.fixture(autouse=True)
def _few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Are timed."""
    monkeypatch.setattr("specdec.training.judging._SECONDS", 0.0)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_random_target(tmp_path_factory.mktemp("target"))


@pytest.fixture(scope="module")
def answered(target: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The target's answers, so that each test need not ask for them again."""
    out = tmp_path_factory.mktemp("answered") / "head"
    trained(target, out, tokens=1)
    return (out / "training" / "answers.jsonl").read_text()


def trained(target: Path, out: Path, answers: str = "", **options: Any) -> TrainingResult:
    if answers and not out.exists():
        (out / "training").mkdir(parents=True)
        (out / "training" / "answers.jsonl").write_text(answers)
        # a training that was stopped before its first step
        lasting = {"target": str(target), "kind": options.get("kind", "dflash"), "start": options.get("start")}
        lasting |= {"seed": 0, "drafts": 4, "length": 96, "answer": 24}
        (out / "training" / "options.json").write_text(json.dumps(lasting))
    given: dict[str, Any] = {
        "tokens": TOKENS,
        "length": 96,
        "answer": 24,
        "drafts": 4,
        "prompts": ASKED,
        "device": "cpu",
    }
    return train(target, out, **(given | options))


def state(out: Path) -> dict[str, Any]:
    kept: dict[str, Any] = torch.load(out / "training" / "state.pt", weights_only=True)
    return kept


@pytest.mark.parametrize("kind", ["dflash", "eagle3", "model"])
def test_learns_and_drafts(kind: str, target: Path, answered: str, tmp_path: Path) -> None:
    told: list[TrainingProgress] = []
    result = trained(target, tmp_path / "out", answered, kind=kind, report=told.append, tokens=2 * TOKENS)
    learning = [progress.answers for progress in told if progress.stage == "training"]
    assert learning and all(learning)
    losses = [progress.loss for progress in told if progress.loss is not None]
    assert losses[-1] < losses[0]
    assert result.best.acceptance_length > 4
    assert result.before.acceptance_length < 2 or kind == "model"  # of a new model the first layers already repeat
    assert result.tokens >= 2 * TOKENS and not result.stopped
    with specdec.load(target, draft=str(tmp_path / "out"), device="cpu", remember=0, slots=1) as engine:
        plain, fast = (
            engine.generate("Say 3 again.", max_tokens=24, ignore_eos=True, temperature=0.0, speculative=s)
            for s in ("off", 4)
        )
        assert plain.token_ids == fast.token_ids
        assert kind in engine.info.drafters


def test_goes_on_as_if_it_had_never_stopped(target: Path, answered: str, tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    trained(target, whole, answered, tokens=2 * TOKENS)
    step = 0

    def stop(progress: TrainingProgress) -> None:
        nonlocal step
        if progress.step > step == 0:
            step = progress.step
            raise KeyboardInterrupt

    first = trained(target, parts, answered, tokens=2 * TOKENS, report=stop)
    assert first.stopped and first.steps == step > 0
    second = trained(target, parts, tokens=2 * TOKENS)
    assert not second.stopped and second.steps > step
    one, other = state(whole), state(parts)
    assert one["state"]["step"] == other["state"]["step"]
    for name, tensor in one["weights"].items():
        assert torch.equal(tensor, other["weights"][name])
    again = trained(target, parts, tokens=2 * TOKENS)
    assert again.steps == second.steps


def test_nothing_is_answered_twice(
    target: Path, answered: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = []
    monkeypatch.setattr(AnswerFile, "append", lambda self, found: kept.append(found.key))
    lines = answered.splitlines(keepends=True)
    missing = json.loads(lines[-1])[0]
    told: list[TrainingProgress] = []
    long = BenchPrompt("long", (Message("user", "again " * 200),))
    prompts = [*ASKED, long]
    trained(target, tmp_path / "out", "".join(lines[:-1]), tokens=1, prompts=prompts, report=told.append)
    assert kept == [missing]
    assert any("1 prompts left out: prompt is too long" in (progress.note or "") for progress in told)
    assert any(progress.seconds_left for progress in told if progress.stage == "answers"), "by tokens too"


def test_a_slow_target_answers_prompts_to_learn_from_too(
    target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has the time for a few answers: each takes a minute."""
    now = 0.0
    append = AnswerFile.append

    def slowly(self: AnswerFile, *found: Answered) -> None:
        nonlocal now
        now += 60 * len(found)
        append(self, *found)

    monkeypatch.setattr("specdec.training.run.time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(AnswerFile, "append", slowly)
    monkeypatch.setattr("specdec.training.run._Run._begin", stopped)
    prompts = [BenchPrompt("count", (Message("user", f"Say {i} again."),)) for i in range(800)]
    parts = TrainingPrompts.of(prompts)
    assert len(parts.judge) > 40
    with pytest.raises(KeyboardInterrupt):
        trained(target, tmp_path / "out", tokens=None, minutes=100, prompts=prompts)
    known = AnswerFile(tmp_path / "out" / "training" / "answers.jsonl").known
    assert 0 < len(known.keys() & set(map(key_of, parts.judge))) < len(known)


def stopped(*_: Any, **_options: Any) -> NoReturn:
    raise KeyboardInterrupt


@dataclass
class Noted:
    """What a training told, and what it would have learnt from."""

    target: Path
    """It samples its answers."""
    told: list[TrainingProgress] = field(default_factory=list)
    learnt: list[Sequence[Answered]] = field(default_factory=list)


@pytest.fixture
def noted(target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Noted:
    """An answer takes a minute, and what is made up always is a prompt; learning never begins."""
    now, noted = 0.0, Noted(tmp_path / "target")
    append = AnswerFile.append

    def slowly(self: AnswerFile, *found: Answered) -> None:
        nonlocal now
        now += 60 * len(found)
        assert not {one.key for one in found} & self.known.keys()
        append(self, *found)

    def begin(_: Any, learn: Sequence[Answered]) -> None:
        noted.learnt.append(learn)
        raise KeyboardInterrupt

    def take(self: MadeUp, words: Words) -> None:
        self.waiting.append(BenchPrompt(CATEGORY, (Message("user", f"{len(noted.learnt)} and {words.key}"),)))

    monkeypatch.setattr("specdec.training.run.time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr("specdec.training.made_up._LONGEST", 2)
    monkeypatch.setattr(AnswerFile, "append", slowly)
    monkeypatch.setattr(MadeUp, "take", take)
    monkeypatch.setattr("specdec.training.run._Run._begin", begin)
    noted.target.mkdir()
    for file in target.iterdir():
        (noted.target / file.name).symlink_to(file)
    (noted.target / "generation_config.json").unlink()
    (noted.target / "generation_config.json").write_text('{"do_sample": true, "eos_token_id": [0, 2]}')
    return noted


def test_time_that_is_left_goes_to_the_same_prompts_and_to_made_up_ones(noted: Noted, tmp_path: Path) -> None:
    """There are 40 minutes for answers, then 80 in all. The user's own texts stay half of all."""
    told = noted.told
    for minutes in (100, 200):  # the second goes on, and asks nothing twice
        with pytest.raises(KeyboardInterrupt):
            trained(noted.target, tmp_path / "out", tokens=None, minutes=minutes, prompts=ASKED[:6], report=told.append)
    assert 80 <= told[-1].answers < 100
    parts, known = TrainingPrompts.of(ASKED[:6]), AnswerFile(tmp_path / "out" / "training" / "answers.jsonl").known
    own = [key_of(prompt, again) for again in range(4) for prompt in parts.learn]
    assert {key_of(prompt) for prompt in parts.judge} | set(own) <= known.keys()
    made_up = [one.key for one in known.values() if one.category == CATEGORY]
    assert len(made_up) == len(known) - len(own) - len(parts.judge) == told[-1].made_up > len(own)
    keys = [one.key for one in noted.learnt[-1]]
    assert len(made_up) <= keys.count(own[0]) * len(own) < len(made_up) + len(own)
    assert len(keys) == keys.count(own[0]) * len(own) + len(made_up)
    assert f"({told[-2].made_up} to prompts that it made up)" in _sentence(told[-2])
    assert (
        _sentence(told[-1]) == f"learning from {len(own)} answers to given prompts and {len(made_up)} to made-up ones"
    )


@pytest.mark.parametrize("given", [0, 6])
def test_made_up_ones_come_beside_ours_and_are_held_out_too(given: int, noted: Noted, tmp_path: Path) -> None:
    """A user's own, what was chatted, come first and stay half of all."""
    own, told = ASKED[:given], noted.told
    with pytest.raises(KeyboardInterrupt):
        trained(noted.target, tmp_path / "out", tokens=None, minutes=250, prompts=own, ours=True, report=told.append)
    known = AnswerFile(tmp_path / "out" / "training" / "answers.jsonl").known.values()
    made_up = {one.key for one in known if one.category == CATEGORY}
    learnt = [one.key for one in noted.learnt[-1]]
    assert made_up - set(learnt) == set(filter(held_out, made_up)) != set()
    assert len(made_up & set(learnt)) > 20
    mine = set(map(key_of, own)) & set(learnt)
    assert len(set(learnt) - made_up - mine) > 20
    assert not own or (len(mine) >= 4 and sum(key in mine for key in learnt) >= len(learnt) / 2)


@pytest.mark.parametrize("last", [False, True])
def test_ctrl_c_while_it_judges(
    last: bool, target: Path, answered: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything was learnt, or when all was: what was learnt last is judged all the same."""
    judged = 0

    def judging(*given: Any) -> TrainingScore:
        nonlocal judged
        judged += 1
        return judge(*given) if last and judged == 1 else stopped()

    with monkeypatch.context() as patch:
        patch.setattr("specdec.training.run.judge", judging)
        with nullcontext() if last else pytest.raises(KeyboardInterrupt):
            assert trained(target, tmp_path / "out", answered, tokens=1).stopped
    again = trained(target, tmp_path / "out", tokens=1)
    assert not again.stopped and again.steps == state(tmp_path / "out")["state"]["judged_at"] == 1


def test_by_the_clock_learning_begins_when_the_answers_are_there() -> None:
    options = TrainingOptions(target="t", out=Path("o"), minutes=20)
    shares = [TrainingState(seconds=seconds, answering=480).progress(options) for seconds in (480, 840, 1200, 1300)]
    assert shares == [0, 0.5, 1, 1]


def test_a_diverging_training_stops_and_keeps_its_best(
    target: Path, answered: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loss, out = BlockLearner.loss, tmp_path / "out"
    best = trained(target, out, answered).best.acceptance_length
    with monkeypatch.context() as patch:
        patch.setattr(BlockLearner, "loss", lambda *given: loss(*given) * float("nan"))
        with pytest.raises(TrainingFailed, match=r"the loss is nan after .* diverged"):
            trained(target, out, tokens=2 * TOKENS)
    assert not (out / "training" / "state.pt").exists()
    again = trained(target, out, tokens=1, rate=1e-4)
    assert again.before.acceptance_length == pytest.approx(best, abs=0.3)


def test_weights_that_the_last_step_spoilt_are_not_written(
    target: Path, answered: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own loss was finite."""
    out, step = tmp_path / "out", Optimiser.step

    def spoiling(self: Optimiser, scale: float) -> None:
        step(self, scale)
        self._groups[0][1][0][0].data[0, 0] = float("inf")

    monkeypatch.setattr(Optimiser, "step", spoiling)
    with pytest.raises(TrainingFailed, match=r"some weights are no finite numbers after 1 steps: .* diverged"):
        trained(target, out, answered, tokens=1)
    assert all(tensor.isfinite().all() for tensor in load_file(out / "model.safetensors").values())


def test_a_slow_machine_that_dies_loses_less_than_a_minute_too(
    target: Path, answered: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step takes 20 seconds."""
    kept, keep = list[int](), TrainingLoop.keep

    def noting(self: TrainingLoop) -> None:
        kept.append(self.state.step)
        keep(self)

    clock = SimpleNamespace(monotonic=count(step=20.0).__next__)
    monkeypatch.setattr("specdec.training.loop.time", clock)
    monkeypatch.setattr(TrainingLoop, "keep", noting)
    steps = trained(target, tmp_path / "out", answered).steps
    assert steps > 3 and kept[-1] == steps
    assert all(later - earlier <= 3 for earlier, later in pairwise(kept))


def test_a_slow_machine_learns_for_longer_than_it_judges(
    target: Path, answered: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step takes 20 seconds, a judgement 100."""
    now, judged, kept = 0.0, list[float](), list[int]()

    def judging(*given: Any) -> TrainingScore:
        nonlocal now
        judged.append(now)
        kept.append(state(tmp_path / "out")["state"]["step"] if now else 0)
        now += 100
        return judge(*given)

    def stepping(*given: Any) -> torch.Tensor:
        nonlocal now
        now += 20
        return step(*given)

    step = TrainingLoop._step
    monkeypatch.setattr("specdec.training.loop.time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr("specdec.training.run.judge", judging)
    monkeypatch.setattr("specdec.training.run._Run._answered", lambda _: 0.0)
    monkeypatch.setattr(TrainingLoop, "_step", stepping)
    trained(target, tmp_path / "out", answered, tokens=None, minutes=40)
    assert judged == [0, 900, 1800, 2400], "at the start, each eight times as long after the last one, and at the end"
    assert kept == [0, 40, 80, 105], "every step, so that a machine that dies meanwhile loses none"


def test_starts_from_a_head_and_refuses_one_of_another_target(target: Path, answered: str, tmp_path: Path) -> None:
    first = trained(target, tmp_path / "first", answered)
    second = trained(target, tmp_path / "second", answered, start=str(tmp_path / "first"), tokens=1)
    assert second.before.acceptance_length == pytest.approx(first.best.acceptance_length, abs=0.3)
    with pytest.raises(InvalidRequest, match="a drafter of kind eagle3; this one is of kind dflash"):
        trained(target, tmp_path / "third", start=str(tmp_path / "first"), kind="eagle3")
    config = json.loads((tmp_path / "first" / "config.json").read_text())
    config["target_hidden_size"] = 96
    (tmp_path / "first" / "config.json").write_text(json.dumps(config))
    with pytest.raises(UnsupportedModel, match="of hidden size 96"):
        trained(target, tmp_path / "third", start=str(tmp_path / "first"))
    assert not (tmp_path / "third").exists(), "the folder is free for the right command"


def test_a_folder_that_holds_something_else(target: Path, tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_text("dear")
    with pytest.raises(InvalidRequest, match="a folder that is empty"):
        trained(target, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["letters.txt"]


def test_a_training_that_was_asked_for_otherwise(target: Path, answered: str, tmp_path: Path) -> None:
    trained(target, tmp_path / "out", answered, tokens=1)
    changes: list[tuple[dict[str, Any], str]] = [({"seed": 1}, "seed=0"), ({"layers": 1}, "layers=None")]
    for changed, before in changes:
        with pytest.raises(InvalidRequest, match=f"another folder: the training in this one has {before}"):
            trained(target, tmp_path / "out", **changed)
    others = [BenchPrompt("others", (Message("user", f"Say {i} twice."),)) for i in range(9)]
    with pytest.raises(InvalidRequest, match="in this one learns from other prompts; with --from"):
        trained(target, tmp_path / "out", prompts=others)


def test_a_target_without_room_for_features(target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EagerModel, "ends", None, raising=False)
    init = EagerModel.__init__

    def without(self: EagerModel, *given: Any) -> None:
        init(self, *given)
        del self.ends

    monkeypatch.setattr(EagerModel, "__init__", without)
    with pytest.raises(UnsupportedModel, match="does not show the hidden states"):
        trained(target, tmp_path / "out")


def test_a_new_head_beside_its_target_is_not_what_drafted_before(tmp_path: Path) -> None:
    target = make_random_target(tmp_path)
    assert _drafted_before("bundled", tmp_path / "new") == "auto"
    sizes = Sizes(64, 2, 8192)
    head("dflash", sizes).save(target / "new")
    assert _drafted_before(str(target), target / "new") == "lookup"
    assert _drafted_before(str(target), tmp_path / "elsewhere") == str(target / "new")


def test_a_narrow_terminal_shows_what_matters() -> None:
    score = TrainingScore(2.5, {}, (), 9.0, 3, 5.0)
    told = TrainingProgress("training", 0.5, 600, 12345, 9, loss=2.5, before=score, best=score)
    assert _sentence(told)[:60] == "training: 50%, 10.0 min left, acceptance length 2.50 → 2.50,"


def test_the_command(target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("specdec.cli.train._MEASURED_TOKENS", 4)
    data = tmp_path / "mine.jsonl"
    data.write_text("".join(json.dumps({"prompt": p.messages[0].content, "category": "count"}) + "\n" for p in ASKED))
    with data.open("a") as file:
        file.write("{broken\n")
    out = tmp_path / "out"
    monkeypatch.chdir(target.parent)
    asked = ["train", target.name, "--out", str(out), "--data", str(data), "--tokens", "60", "--device", "cpu"]
    done = CliRunner().invoke(app, [*asked, "--length", "96", "--answer", "24", "--json"])
    assert done.exit_code == 0, done.output
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    for note in ("lines skipped: 1;", "1 answers at once"):  # or they would depend on each other
        assert any(note in (line.get("note") or "") for line in lines)
    assert lines[-1]["result"]["best"]["acceptance_length"] >= 1
    rows = lines[-1]["rows"]
    assert [row["category"] for row in rows] == ["before", "after"]
    assert all(row["plain"] > 0 and row["identical"] == row["answers"] > 0 for row in rows)
    verifier = json.loads((out / "config.json").read_text())["speculators_config"]["verifier"]
    assert (out / "model.safetensors").exists() and verifier["name_or_path"] == str(target), "wherever vLLM is started"
    assert set(map(key_of, ASKED)) == set(AnswerFile(out / "training" / "answers.jsonl").known)
    monkeypatch.setattr("specdec.cli.train.plain_and_speculative", stopped)
    done = CliRunner().invoke(app, [*asked, "--length", "96", "--answer", "24"])
    assert done.exit_code == 130 and "acceptance length" in done.stdout, "Ctrl-C while it measures"


def test_what_was_chatted_is_asked_with_what_came_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sessions.db"
    monkeypatch.setattr("specdec_tui.run.database_path", lambda: path)
    with pytest.raises(InvalidRequest, match="chats that were kept"):
        chatted()
    store, talk = Store(path), Conversation()
    store.begin("a", "greeting", "Be brief.")
    parent = None
    for message in (Message("user", "Hello"), Message("assistant", "Hi."), Message("user", "And you?")):
        turn = talk.add(message, parent)
        parent = turn.id
        store.save("a", turn)
    store.close()
    told = [[(m.role, m.content) for m in prompt.messages] for prompt in chatted()]
    head = [("system", "Be brief."), ("user", "Hello")]
    assert told == [head, [*head, ("assistant", "Hi."), ("user", "And you?")]]
