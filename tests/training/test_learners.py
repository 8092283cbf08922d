"""A drafter that learns says what it says when it drafts."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from specdec.drafters.base import DraftContext, Seen
from specdec.drafters.heads import config as heads
from specdec.drafters.heads.dflash import BlockHead
from specdec.drafters.heads.eagle3 import EagleHead
from specdec.drafters.heads.loading import load_head
from specdec.drafters.heads.parts import HeadParts
from specdec.models.base import Batch, Model
from specdec.models.loading import load_model
from specdec.training.answers import Answered
from specdec.training.dflash import BlockLearner
from specdec.training.eagle3 import EagleLearner
from specdec.training.features import TargetFeatures
from specdec.training.initial import TargetFacts, features_of, write_head
from specdec.training.learning import Learner
from specdec.training.optimiser import Optimiser
from specdec.training.options import Kind, TrainingOptions
from specdec.training.published import write_started
from specdec.training.weights import FrozenEnds, LearningTensors, write_tensors
from tests.drafters.heads.building import Sizes, head
from tests.drafters.rounds import propose
from tests.models import models

K, PROMPT = 4, 21
HEADS = {
    "dflash of speculators": {},
    "dflash with windows": {"windows": True},
    "eagle3 of speculators": {},
    "eagle3 plain": {"fc_norm": False, "norm_output": False, "norm_before_residual": True},
}


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load_model(models.save(models.build("llama"), tmp_path_factory.mktemp("target")), context=96, slots=2)


@pytest.mark.parametrize("name", ["eagle3", "eagle3 of speculators", "dflash", "dflash of speculators"])
def test_a_published_head_keeps_what_its_config_says(name: str, target: Model, tmp_path: Path) -> None:
    made = head(name, sizes := Sizes.of(target))
    if name == "dflash":
        made.config["dflash_config"] |= {"use_swa": True, "swa_window_size": 7}
    (out := tmp_path / "out").mkdir()
    config = SimpleNamespace(
        hidden_size=sizes.hidden, num_hidden_layers=sizes.layers, vocab_size=sizes.vocab, architectures=["A"]
    )
    write_started(out, str(made.save(tmp_path / "in")), TargetFacts("t", tmp_path, config, 0))
    before, after = (heads.read(folder, sizes.layers) for folder in (tmp_path / "in", out))
    same = ("features", "target_hidden", "draft_vocab", "longest", "mask_token", "switches", "block")
    assert {n: getattr(before, n) for n in same} == {n: getattr(after, n) for n in same}
    assert before.family.windows == after.family.windows


def chance() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def learner_of(folder: Path, target: Model) -> Learner:
    tensors, ends = LearningTensors(folder, target.info.device), FrozenEnds(target)
    config = heads.read(folder, ends.layers)
    parts = HeadParts.read(config, tensors, ends, target.info)
    if config.block is None:
        return EagleLearner(EagleHead(parts), tensors, ends, 96, K)
    return BlockLearner(BlockHead(parts), tensors, ends, 96)


def drafted(folder: Path, target: Model, tokens: list[int]) -> list[int]:
    """What the head drafts behind these tokens."""
    drafter, count = load_head(folder, target, "head"), len(tokens) - 1
    seen = DraftContext(1, 0, tokens[:count], count)
    with torch.inference_mode():
        passed = target.run(Batch(torch.tensor([tokens[:count]]), [0], [0], 0, drafter.features))
        assert passed.features is not None
        drafter.observe(Seen(seen, 0, count, passed.features[0]))
        seen.tokens.append(tokens[count])
        return propose(drafter, seen, k=K)[0]


@pytest.fixture(params=HEADS)
def folder(request: pytest.FixtureRequest, target: Model, tmp_path: Path) -> Path:
    kind = request.param.split(" ")[0] + " of speculators"
    return head(kind, Sizes.of(target), **HEADS[request.param]).save(tmp_path)


def test_accepts_what_the_head_drafts(folder: Path, target: Model) -> None:
    learner = learner_of(folder, target)
    tokens = models.tokens(PROMPT, seed=2).tolist()
    drafts = drafted(folder, target, tokens)
    wrong = [*drafts[:2], (drafts[2] + 1) % 90, drafts[3]]
    answers = [
        Answered("right", "", tuple(tokens[:12]), (*tokens[12:], *drafts)),
        Answered("cut", "", tuple(tokens[:12]), (*tokens[12:], *drafts[:3])),
        Answered("wrong", "", tuple(tokens[:12]), (*tokens[12:], *wrong)),
    ]
    batch = TargetFeatures(target, learner.features, 0).batch(answers)
    with torch.no_grad():
        accepted = learner.accepted(batch)[:, PROMPT - 1].tolist()
    assert accepted == [K, 3, 2]


def test_gradients_reach_all_that_learns(folder: Path, target: Model) -> None:
    learner = learner_of(folder, target)
    tokens = tuple(models.tokens(40, seed=5).tolist())
    batch = TargetFeatures(target, learner.features, 0).batch([Answered("a", "", tokens[:8], tokens[8:])])
    loss = learner.loss(batch, chance(), 64)
    loss.backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(loss)
    for names, (parameter, _) in learner.tensors.learning.items():
        assert parameter.grad is not None and bool(parameter.grad.any()), names


@pytest.mark.parametrize("name", ["eagle3 of speculators"])
def test_a_row_goes_on_by_itself(name: str, target: Model, tmp_path: Path) -> None:
    learner = learner_of(head(name, Sizes.of(target)).save(tmp_path), target)
    assert isinstance(learner, EagleLearner)
    tokens = tuple(models.tokens(30, seed=5).tolist())
    batch = TargetFeatures(target, learner.features, 0).batch([Answered("a", "", tokens[:8], tokens[8:])])
    some = torch.tensor([[3, 19, 11]])
    with torch.no_grad():
        whole = list(learner._steps(batch, torch.arange(29).unsqueeze(0), K))
        for step, said in enumerate(learner._steps(batch, some, K)):
            torch.testing.assert_close(said, whole[step][:, some[0]], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["eagle3", "dflash"])
def test_a_new_head_reads_all_numbers_alike(kind: Kind, tmp_path: Path) -> None:
    facts = TargetFacts("t", tmp_path, models.build("llama").config, 0)
    count = len(features_of(facts, kind, 1))
    seen = torch.randn(64, count * facts.hidden, generator=chance())
    seen[:, 3] *= 500  # nearly all of what that layer puts out
    seen[:, facts.hidden :] *= 30
    product = torch.zeros(facts.vocab, facts.hidden)
    write_head(tmp_path, facts, TrainingOptions(target="t", out=tmp_path, kind=kind), 1, [5, 9], product, seen)
    stored = load_file(tmp_path / "model.safetensors")
    if kind == "eagle3":
        parts = enumerate(seen.chunk(count, -1))
        read = torch.cat([F.rms_norm(x, x.shape[-1:], stored[f"fc_norm.{i}.weight"]) for i, x in parts], -1)
        sizes = read.square().mean(0).sqrt()
    else:
        sizes = seen.square().mean(0).sqrt() * stored["fc.weight"].norm(dim=0)
    assert sizes.max() < 3 * sizes.min()


def test_positions_are_drawn_once_and_from_answers(target: Model) -> None:
    tokens = tuple(models.tokens(30, seed=5).tolist())
    answers = [Answered("long", "", tokens[:8], tokens[8:]), Answered("short", "", tokens[:2], tokens[2:5])]
    batch = TargetFeatures(target, (1,), 0).batch(answers)
    at, there = batch.drawn(chance(), 6)
    assert there.sum(1).tolist() == [6, 2], "the last token of an answer has nothing behind it"
    assert len(set(at[0].tolist())) == 6 and min(at[0]) >= 8 and max(at[0]) < 29
    assert sorted(at[1][there[1]].tolist()) == [2, 3]


def test_graphs_are_made_of_passes_over_texts(target: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[bool] = []
    monkeypatch.setattr(target, "prepare", lambda: made.append(torch.is_inference_mode_enabled()), raising=False)
    batch = TargetFeatures(target, (1,), 0).batch([Answered("a", "", (5, 9), (17, 31))])
    assert made == [True], "graphs hold tensors of inference mode"
    assert not batch.features.is_inference(), "gradients go through what is made of them"


def test_what_is_written_is_what_was_learnt(folder: Path, target: Model) -> None:
    learner = learner_of(folder, target)
    tokens = tuple(models.tokens(40, seed=5).tolist())
    batch = TargetFeatures(target, learner.features, 0).batch([Answered("a", "", tokens[:8], tokens[8:])])
    tensors, first = learner.tensors, learner.loss(batch, chance(), 64)
    first.backward()  # type: ignore[no-untyped-call]
    Optimiser(tensors.matrices, tensors.rest, 0.02, 0.003).step(1.0)
    write_tensors(folder, learner.tensors.state(), torch.float32)
    with torch.no_grad():
        learnt, read = (each.loss(batch, chance(), 64) for each in (learner, learner_of(folder, target)))
    assert learnt < first
    torch.testing.assert_close(learnt, read, atol=1e-5, rtol=0)


def test_what_is_written_is_what_was_read(folder: Path, target: Model) -> None:
    state = learner_of(folder, target).tensors.state()
    write_tensors(folder, state, torch.float32)
    again = learner_of(folder, target).tensors.state()
    assert state.keys() == again.keys()
    assert all(torch.equal(state[name], again[name]) for name in state)
