"""A head that is there for a target is found by itself."""

from __future__ import annotations

import json
import shutil
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

import specdec
from specdec.bundled import path as bundled
from specdec.drafters.heads import finding
from specdec.drafters.heads.finding import local_heads, pairs, published
from specdec.types import PublishedDraft
from tests.drafters.heads.building import Sizes, head

SIZES = Sizes(384, 8, 8192)


@pytest.fixture
def target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the bundled target, in a hub's cache that is empty otherwise."""
    monkeypatch.setattr(huggingface_hub, "scan_cache_dir", partial(huggingface_hub.scan_cache_dir, tmp_path / "hub"))
    (tmp_path / "hub").mkdir()
    return Path(shutil.copytree(bundled("target"), tmp_path / "models" / "My-Target"))


def named(verifier: str) -> dict[str, Any]:
    return {"speculators_config": {"verifier": {"name_or_path": verifier}}}


def cached(tmp_path: Path, name: str, kind: str, **config: Any) -> None:
    """A head in the hub's cache, as huggingface_hub lays it out."""
    place = tmp_path / "hub" / f"models--{name.replace('/', '--')}"
    head(kind, SIZES, **config).save(place / "snapshots" / "abc")
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("abc")


def test_below_and_beside_the_target_and_in_the_hubs_cache(target: Path, tmp_path: Path) -> None:
    beside = target.parent
    assert list(local_heads("somebody/My-Target", target)) == []
    cached(tmp_path, "somebody/head", "peagle", **named("someone/my-target"))
    cached(tmp_path, "somebody/another", "peagle", **named("someone/other"))
    head("dflash", SIZES).save(beside / "My-Target-DFlash")
    head("dflash", SIZES).save(beside / "Other-DFlash")
    head("peagle", SIZES, **named("x/Other")).save(beside / "My-Target-other")
    head("dspark", SIZES, **named("x/my-target")).save(beside / "spark")
    head("dflash2", SIZES).save(target / "dflash")
    (beside / "broken").mkdir()
    (beside / "broken" / "config.json").write_text("{")
    found = [name for name, _ in local_heads("somebody/My-Target", target)]
    assert found == [
        str(target / "dflash"), str(beside / "My-Target-DFlash"), str(beside / "spark"), "somebody/head"
    ]  # fmt: skip


def test_it_drafts_and_what_does_not_fit_is_left(target: Path) -> None:
    head("dflash", Sizes(64, 8, 8192)).save(target / "dflash")
    head("eagle3", SIZES).save(target / "eagle3")
    with pytest.warns(RuntimeWarning, match="left alone as a draft: .*hidden size is 64"):
        engine = specdec.load(target, slots=1, context=256)
    with engine:
        assert engine.info.draft == str(target / "eagle3")
        assert "eagle3" in engine.info.drafters
    with specdec.load(target, "lookup", slots=1, context=256) as engine:
        assert engine.info.draft is None


def test_published_heads_are_fetched_when_asked(target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = head("dflash", SIZES).save(tmp_path / "fetched")
    known = (("my-target",), PublishedDraft("owner/head", 0.1, "MIT", "nothing"))
    monkeypatch.setattr(finding, "pairs", lambda: (known,))
    asked: list[str] = []

    def resolve(name: str) -> Path:
        asked.append(name)
        return here if name == "owner/head" else Path(name)

    monkeypatch.setattr("specdec.decoding.assembly.resolve", resolve)
    with specdec.load(target, slots=1, context=256) as engine:
        assert engine.info.draft is None
        assert engine.info.published_draft
        assert engine.info.published_draft.name == "owner/head"
    with specdec.load(target, slots=1, context=256, fetch_draft=True) as engine:
        assert engine.info.draft == "owner/head"
        assert engine.info.published_draft is None
    assert asked == [str(target), str(target), "owner/head"]


def test_the_table_of_pairs() -> None:
    for targets, known in pairs():
        assert targets and known.gigabytes > 0 and known.helps
        assert fnmatch(known.name, "*/*")
    assert published("Qwen/Qwen3-8B")[0].name == published("/models/qwen3-8b")[0].name == "z-lab/Qwen3-8B-DFlash-b16"
    assert published("Qwen/Qwen3-8B-AWQ") == []
    assert json.dumps(str(published("meta-llama/Llama-3.1-8B-Instruct")[1])).startswith('"yuhuili/EAGLE3')
