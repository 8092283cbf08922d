"""Models by the names that people know them by, and where other programs keep them."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest

from specdec.errors import CheckpointCorrupt, CheckpointNotFound, LoadError, UnsupportedModel
from specdec.models.weights import stores
from specdec.models.weights.checkpoint import resolve

FILES = [
    "Tiny-Q4_K_M.gguf",
    "Tiny-UD-Q4_K_XL.gguf",
    "Tiny.q8_0.gguf",
    "mmproj-F16.gguf",
    "BF16/Tiny-BF16-00001-of-00002.gguf",
    "BF16/Tiny-BF16-00002-of-00002.gguf",
    "README.md",
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in FILES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"GGUF")
    return tmp_path


@pytest.mark.parametrize(
    ("tag", "file"),
    [
        ("Q4_K_M", "Tiny-Q4_K_M.gguf"),
        ("q4_k_m", "Tiny-Q4_K_M.gguf"),
        ("UD-Q4_K_XL", "Tiny-UD-Q4_K_XL.gguf"),
        ("Q8_0", "Tiny.q8_0.gguf"),
        ("BF16", "BF16/Tiny-BF16-00001-of-00002.gguf"),
    ],
)
def test_a_tag_names_a_file_of_a_folder(folder: Path, tag: str, file: str) -> None:
    assert resolve(f"{folder}:{tag}") == folder / file


def test_tags_of_other_names() -> None:
    files = ("Q5_0.gguf", "tiny-fp16.gguf", "tiny-f16.gguf", "tiny-NVFP4.gguf", "tiny-16.gguf")
    assert [stores.tag_of(file) for file in files] == ["Q5_0", "FP16", "F16", "NVFP4", None]


def test_without_a_tag_there_has_to_be_one(folder: Path) -> None:
    with pytest.raises(CheckpointNotFound, match=r"holds 4 GGUF files; expected one of .*:BF16, :Q4_K_M, :Q8_0, :UD-"):
        resolve(folder)
    with pytest.raises(CheckpointNotFound, match=r"holds no GGUF file for Q2_K; expected one of"):
        resolve(f"{folder}:Q2_K")
    for file in folder.glob("Tiny-*.gguf"):
        file.unlink()
    for file in (folder / "BF16").iterdir():
        file.unlink()
    assert resolve(folder) == folder / "Tiny.q8_0.gguf"
    assert resolve(folder / "Tiny.q8_0.gguf") == folder / "Tiny.q8_0.gguf"


def test_the_hub_is_asked_for_all_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[tuple[str, str]] = []

    def download(name: str, file: str) -> str:
        fetched.append((name, file))
        return f"/cache/{file}"

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    listed = SimpleNamespace(siblings=[SimpleNamespace(rfilename=file) for file in FILES])
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda self, name, timeout: listed)
    assert resolve("owner/tiny-GGUF:BF16") == Path("/cache/BF16/Tiny-BF16-00001-of-00002.gguf")
    assert [file for _, file in fetched] == FILES[4:6]
    with pytest.raises(
        CheckpointNotFound, match=r"owner/tiny-GGUF holds no GGUF file for Q5_K_M; expected one of owner"
    ):
        resolve("owner/tiny-GGUF:Q5_K_M")


def test_the_hub_out_of_reach() -> None:
    with pytest.raises(
        CheckpointNotFound, match="nobody/no-such-model is neither in the hub's cache nor listed by the hub: "
    ):
        resolve("nobody/no-such-model:Q4_K_M")


# ---- Ollama


@pytest.fixture
def ollama(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path))
    (tmp_path / "blobs").mkdir()
    return tmp_path


def _pulled(store: Path, name: str, *, kinds: tuple[str, ...] = ("model",), blob: bool = True) -> Path:
    digest = f"{abs(hash(name)):064x}"[:64]
    manifest = store / "manifests" / name
    manifest.parent.mkdir(parents=True, exist_ok=True)
    layers: list[dict[str, Any]] = [
        {"mediaType": f"application/vnd.ollama.image.{kind}", "digest": f"sha256:{digest}"} for kind in kinds
    ]
    manifest.write_text(json.dumps({"layers": layers}))
    file = store / "blobs" / f"sha256-{digest}"
    if blob:
        file.write_bytes(b"GGUF")
    return file


@pytest.mark.parametrize(
    ("name", "manifest"),
    [
        ("llama3.1:8b", "registry.ollama.ai/library/llama3.1/8b"),
        ("llama3.1", "registry.ollama.ai/library/llama3.1/latest"),
        ("someone/model:q4", "registry.ollama.ai/someone/model/q4"),
        ("hf.co/someone/model:Q4_K_M", "hf.co/someone/model/Q4_K_M"),
    ],
)
def test_ollama_names_are_its_own(ollama: Path, name: str, manifest: str) -> None:
    file = _pulled(ollama, manifest)
    assert resolve(f"ollama:{name}") == file
    assert dict(stores.ollama_models()) == {f"ollama:{name}" if ":" in name else f"ollama:{name}:latest": file}


def test_what_ollama_lacks(ollama: Path) -> None:
    _pulled(ollama, "registry.ollama.ai/library/here/1b")
    with pytest.raises(CheckpointNotFound, match=r"no 'llama3.1:8b' in .*; it has: ollama:here:1b"):
        resolve("ollama:llama3.1:8b")
    with pytest.raises(CheckpointNotFound, match="Ollama has no"):
        resolve("ollama:../../secret:x")


@pytest.mark.parametrize(
    ("kinds", "blob", "error", "said"),
    [
        (("model", "adapter"), True, UnsupportedModel, "adds an adapter, which is not applied"),
        (("model",), False, CheckpointCorrupt, "names weights that are not there .*; pull it again"),
        (("params",), True, UnsupportedModel, "names no GGUF file; expected a model that is here"),
    ],
)
def test_manifests_that_cannot_be_used(
    ollama: Path, kinds: tuple[str, ...], blob: bool, error: type[LoadError], said: str
) -> None:
    _pulled(ollama, "registry.ollama.ai/library/odd/1b", kinds=kinds, blob=blob)
    with pytest.raises(error, match=said):
        resolve("ollama:odd:1b")
    assert list(stores.ollama_models()) == []


def test_a_manifest_that_is_none(ollama: Path) -> None:
    _pulled(ollama, "registry.ollama.ai/library/odd/1b")
    (ollama / "manifests/registry.ollama.ai/library/odd/1b").write_text("{")
    with pytest.raises(CheckpointCorrupt, match="is no manifest of Ollama's"):
        resolve("ollama:odd:1b")


def test_lm_studio_keeps_folders(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    kept = home / ".lmstudio" / "models" / "someone" / "Tiny-GGUF"
    kept.mkdir(parents=True)
    (kept / "Tiny-Q4_K_M.gguf").write_bytes(b"GGUF")
    monkeypatch.setattr(Path, "home", lambda: home)
    assert stores.lm_studio_folders() == [kept]
    assert resolve(kept) == kept / "Tiny-Q4_K_M.gguf"
