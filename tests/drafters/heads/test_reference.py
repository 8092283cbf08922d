"""Heads give the logits that the modules of PyPI's `speculators` give, draft by draft, through rounds with rejections;
and DSpark's the same chances.

`SPECDEC_SPECULATORS` is the Python of an environment that has it, with `pip install --no-deps speculators` and what its
`speculators.models` imports: it wants other versions of transformers than we do.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from specdec.drafters.base import DraftContext, Seen
from specdec.drafters.drawing import Drawing
from specdec.drafters.heads.drafter import HeadDrafter
from specdec.drafters.heads.loading import load_head
from specdec.models.base import Model
from specdec.models.loading import load_model
from tests.drafters.heads.building import Sizes, head
from tests.drafters.rounds import round_of
from tests.models import models

PYTHON = os.environ.get("SPECDEC_SPECULATORS", "")
PROMPT, K = 23, 5
ACCEPTED = (0, 2, 5, 1, 0, 3)
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "eagle3": ("eagle3 of speculators", {}),
    "eagle3, normed as one": ("eagle3 of speculators", {"norm_before_fc": True, "fc_norm": False}),
    "eagle3, plain": ("eagle3 of speculators", {"fc_norm": False, "norm_output": False, "norm_before_residual": True}),
    "peagle": ("peagle", {}),
    "dflash": ("dflash of speculators", {}),
    "dflash, windows": ("dflash of speculators", {"windows": True}),
    "dflash, windows without order": ("dflash of speculators", {"windows": True, "sliding_window_non_causal": True}),
    "dflash2": ("dflash2 of speculators", {}),
    "dspark": ("dspark", {}),
    "dspark, whose chances follow from rows alone": ("dspark", {"confidence_head_with_markov": False}),
    "dspark, recurrent": ("dspark", {"markov_head_type": "rnn"}),
    "dspark, without its anchor": ("dspark", {"sample_from_anchor": False, "markov_head_type": "vanilla"}),
}  # fmt: skip


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = models.save(models.build("llama"), tmp_path_factory.mktemp("target"))
    return load_model(folder, device="cpu", context=64, slots=2)


@pytest.mark.slow
@pytest.mark.skipif(not PYTHON, reason="needs SPECDEC_SPECULATORS")
@pytest.mark.parametrize("case", CASES)
def test_the_same_logits(case: str, target: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, changes = CASES[case]
    folder = head(kind, Sizes.of(target), **changes).save(tmp_path / "head")
    drafter = load_head(folder, target, "head")
    assert target.ends is not None
    tokens, width = models.tokens(60, seed=3), len(drafter.features) * target.ends.hidden
    features = torch.randn(60, width, generator=torch.Generator().manual_seed(5))
    ends, found = rounds(drafter, features, tokens, monkeypatch)
    embedding = target.ends.embed(torch.arange(target.info.vocab_size))
    asked = {
        "folder": str(folder), "features": features, "tokens": tokens, "ends": ends, "k": K, "embedding": embedding,
        "head": target.ends.unembed(torch.eye(target.ends.hidden)).T,
    }  # fmt: skip
    torch.save(asked, tmp_path / "asked")
    script = [PYTHON, "-m", "tests.drafters.heads.speculators_logits", f"{tmp_path}/asked", f"{tmp_path}/answered"]
    subprocess.run(script, check=True, cwd=Path(__file__).parents[3])
    ids = drafter.head.vocabulary.ids  # type: ignore[attr-defined]
    for (drafts, logits, chances), (theirs, truth, told) in zip(found, torch.load(tmp_path / "answered"), strict=True):
        assert drafts == theirs
        torch.testing.assert_close(logits if ids is None else logits[:, ids], truth, rtol=0, atol=2e-4)
        torch.testing.assert_close(chances, told, rtol=0, atol=1e-4)


def rounds(
    drafter: HeadDrafter, features: Tensor, tokens: Tensor, monkeypatch: pytest.MonkeyPatch
) -> tuple[list[int], list[tuple[list[int], Tensor, Tensor | None]]]:
    """The lengths at which rounds start, and each one's drafts, logits and chances; of the drafts so many are
    accepted."""
    context = DraftContext(1, 1, tokens[:PROMPT].tolist(), PROMPT)
    drafter.observe(Seen(context, 0, 13, features[:13]))
    drafter.observe(Seen(context, 13, PROMPT - 13, features[13:PROMPT]))
    context.tokens.append(int(tokens[PROMPT]))
    logits: list[Tensor] = []
    draw = Drawing.choose

    def noting(self: Drawing, x: Tensor, first: int) -> Tensor:
        logits.append(x[0])
        return draw(self, x, first)

    monkeypatch.setattr(Drawing, "choose", noting)
    chances: list[Tensor | None] = []
    propose = drafter.head.propose

    def telling(*given: Any) -> None:
        chances.append(propose(*given))

    monkeypatch.setattr(drafter.head, "propose", telling)
    ends, found = [], []
    for accepted in ACCEPTED:
        start = len(context.tokens) - 1
        ends.append(start + 1)
        drafts = drafter.propose(round_of([context]), K)
        found.append((drafts.tokens[0].tolist(), torch.cat(logits), None if chances[-1] is None else chances[-1][0]))
        logits.clear()
        context.tokens += tokens[start + 1 : start + accepted + 2].tolist()
        seen = Seen(context, start, accepted + 1, features[start : start + accepted + 1], drafter.name)
        drafter.observe(seen)
    return ends, found
