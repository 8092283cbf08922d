"""Fetching from a hub on this machine that cuts off, finding there, and removing."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from huggingface_hub.errors import HFValidationError

from specdec import hub
from specdec.errors import InvalidRequest, LoadError
from specdec.hub import Step
from tests.hub import FILES, GGUF, GGUF_NAME, LARGE, NAME, Hub, on_this_machine


@pytest.fixture
def our_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with on_this_machine(tmp_path, monkeypatch) as server:
        yield server


def _fetched(name: str) -> list[Step]:
    async def steps() -> list[Step]:
        return [step async for step in hub.fetch(name)]

    return asyncio.run(steps())


def test_a_download_goes_on_where_it_was_cut_off_and_where_it_was_left(our_hub: Hub, tmp_path: Path) -> None:
    our_hub.cuts = 1
    steps = _fetched(NAME)
    assert our_hub.ranges[0] == 0
    assert our_hub.ranges[1] > 0
    assert steps[-1].done == steps[-1].total >= len(FILES[LARGE])
    (file,) = tmp_path.glob(f"models--owner--model/snapshots/*/{LARGE}")
    assert file.read_bytes() == FILES[LARGE]
    _fetched(NAME)
    assert len(our_hub.ranges) == 2, "what is here is not fetched again"


def _until_written(cache: Path) -> None:
    while not any(file.stat().st_size > 2**20 for file in cache.rglob("*.incomplete")):
        time.sleep(0.01)


def test_a_download_that_was_left_goes_on_in_another_process(our_hub: Hub, tmp_path: Path) -> None:
    async def leave() -> None:
        async with aclosing(hub.fetch(NAME)) as steps:
            await anext(steps)
            await asyncio.to_thread(_until_written, tmp_path)

    our_hub.held.clear()
    asyncio.run(leave())
    assert not hub.whole(NAME)
    our_hub.held.set()
    _fetched(NAME)
    assert our_hub.ranges[0] == 0
    assert our_hub.ranges[1] > 0
    (file,) = tmp_path.glob(f"models--owner--model/snapshots/*/{LARGE}")
    assert file.read_bytes() == FILES[LARGE]
    assert not list(tmp_path.rglob("*.incomplete"))
    assert hub.whole(NAME)


def test_the_library_may_try_again(tmp_path: Path) -> None:
    """As it does after a silent server, by its own names."""
    sizes: list[int] = []

    def http_get(url: str, temp_file: BinaryIO, *, resume_size: int = 0, **_: Any) -> None:
        sizes.append(resume_size)
        temp_file.write(b"ab")
        if len(sizes) < 2:
            get(url=url, temp_file=temp_file, resume_size=temp_file.tell(), expected_size=4)

    get = hub._goes_on(http_get)
    with (tmp_path / "etag.0.incomplete").open("wb") as file:
        get("url", file, expected_size=4)
    assert sizes == [0, 2]
    assert [file.name for file in tmp_path.iterdir()] == ["etag.0.incomplete"]


def test_what_the_hub_lacks_is_named(our_hub: Hub) -> None:
    our_hub.gone = True
    with pytest.raises(LoadError, match=r"owner/model could not be fetched: .*404"):
        _fetched(NAME)


def test_a_tag_names_one_file_and_without_it_the_tags_are_named(our_hub: Hub, tmp_path: Path) -> None:
    _fetched(f"{GGUF_NAME}:q4_k_m")
    (file,) = tmp_path.glob("models--owner--tiny-GGUF/snapshots/*/*")
    assert file.name == "Tiny-Q4_K_M.gguf"
    with pytest.raises(LoadError, match=f"holds 2 GGUF files; expected one of {GGUF_NAME}:Q4_K_M, :Q8_0"):
        _fetched(GGUF_NAME)


def test_a_process_that_dies_is_no_success(our_hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(LoadError, match="its process ended with code 1"):
        _fetched(NAME)


def test_one_file_is_removed_or_all(our_hub: Hub, tmp_path: Path) -> None:
    for tag in ("Q4_K_M", "Q8_0"):
        _fetched(f"{GGUF_NAME}:{tag}")
    folder = tmp_path / "models--owner--tiny-GGUF"
    assert hub.bytes_of(hub.here(GGUF_NAME)) >= sum(map(len, GGUF.values()))
    hub.remove(f"{GGUF_NAME}:q4_k_m")
    (left,) = folder.glob("snapshots/*/*")
    assert left.name == "Tiny-Q8_0.gguf"
    with pytest.raises(InvalidRequest, match="expected one of the hub's that specdec models lists"):
        hub.remove(f"{GGUF_NAME}:Q4_K_M")
    hub.remove(f"{GGUF_NAME}:Q8_0")
    assert not folder.exists()


def test_what_is_no_model_of_the_hub_is_not_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "model.safetensors").touch()
    for name in ("", "..", "../mine", str(tmp_path / "mine"), "bundled", "ollama:llama3.1:8b"):
        with pytest.raises(InvalidRequest):
            hub.remove(name)
    assert (tmp_path / "mine" / "model.safetensors").exists()


def test_how_far_it_has_come_is_said_as_far_as_it_is_known() -> None:
    assert hub.progress(Step(5_000_000, 20_000_000, 1_000_000)) == "5.0 MB of 20 MB · 1.0 MB/s · 0:15 left"
    assert hub.progress(Step(0, 0, 0.0)) == "0 B · 0 B/s"


def test_the_hub_is_asked_for_models_that_write(our_hub: Hub) -> None:
    code = "from specdec import hub; print(hub.search('fox'))"
    done = subprocess.run([sys.executable, "-c", code], env=os.environ, capture_output=True, text=True, check=True)
    assert done.stdout == f"[HubModel(name={NAME!r}, downloads=1234)]\n"
    assert our_hub.searched == ["fox"]


def test_what_there_is_is_known_before_it_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def there(_: object, name: str, **__: object) -> None:
        asked.append(name)
        if " " in name:
            raise HFValidationError("no id")
        if name == "nowhere/model":
            raise OSError(-2, "Name or service not known")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", there)
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path))
    (tmp_path / "Tiny-Q4_K_M.gguf").touch()
    assert all(map(hub.known, (str(tmp_path), f"{tmp_path}:Q4_K_M", "owner/model", "owner/model:Q4_K_M")))
    assert not hub.known("no such name")
    with pytest.raises(LoadError, match="the hub cannot be reached: Name or service not known"):
        hub.known("nowhere/model")
    for name, why in ((f"{tmp_path}:Q8_0", "no GGUF file for Q8_0"), ("ollama:tiny", "Ollama has no 'tiny'")):
        with pytest.raises(LoadError, match=why):
            hub.known(name)
    assert asked == ["owner/model", "owner/model", "no such name", "nowhere/model"]


def test_a_hub_that_cannot_be_reached_is_told() -> None:
    with pytest.raises(LoadError, match="the hub cannot be reached: "):
        hub.search("fox")  # offline, as in all tests
