"""GGUF files by the names that people know them by: on the hub, in Ollama's store, in folders such as LM Studio's."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from specdec.errors import CheckpointCorrupt, CheckpointNotFound, UnsupportedModel, first_line
from specdec.gguf import SUFFIX, parts_of

HUB_FILES = ["*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken", "*.safetensors", "*.py"]
HUB_IGNORED = ["*/*", "consolidated*"]
PICKLED = "pytorch_model*.bin"
HUB_SECONDS = 5.0
"""How long the hub may take to answer before it counts as out of reach."""
OLLAMA = "ollama:"
_REGISTRY, _LIBRARY = "registry.ollama.ai", "library"
_MODEL_LAYER = "application/vnd.ollama.image.model"
_ADAPTER_LAYER = "application/vnd.ollama.image.adapter"
_TAG = re.compile(
    r"(?:^|[-._/])((?:UD-)?(?:I?Q\d\w*|T?Q\d_\d|BF16|FP?(?:16|32)|(?:MX|NV)FP4\w*))(?:-\d{5}-of-\d{5})?\.gguf$",
    re.IGNORECASE,
)
_PART = re.compile(r"-(\d{5})-of-\d{5}\.gguf$")
_BESIDE = re.compile(r"(^|/)(mmproj|imatrix)[^/]*$", re.IGNORECASE)
"""What lies beside a model and is none: the part that sees, and what was measured for quantising."""


def named_gguf(name: str) -> Path | None:
    """The file behind `ollama:llama3.1:8b`, `owner/repo:Q4_K_M` or `folder:Q4_K_M`; None for other names."""
    if name.startswith(OLLAMA):
        return _ollama_file(name.removeprefix(OLLAMA))
    at, colon, tag = name.rpartition(":")
    if not colon or "/" in tag or "\\" in tag:
        return None
    folder = Path(at).expanduser()
    if folder.is_dir():
        return folder / choose(gguf_files(folder), tag, at)
    return fetch(at, tag) if at.count("/") == 1 else None


def gguf_files(folder: Path) -> list[str]:
    """Models in a folder and right below it, as paths within it; of split ones the first part."""
    found = (
        file.relative_to(folder).as_posix()
        for pattern in (f"*{SUFFIX}", f"*/*{SUFFIX}")
        for file in folder.glob(pattern)
    )
    return models_among(found)


def models_among(files: Iterator[str] | Sequence[str]) -> list[str]:
    """Those of some files that are GGUF models; of split ones the first part."""
    return sorted(
        file
        for file in files
        if file.endswith(SUFFIX)
        and not _BESIDE.search(file)
        and not ((part := _PART.search(file)) and part[1] != "00001")
    )


def choose(files: Sequence[str], tag: str | None, where: str) -> str:
    """The one file that has a tag such as Q4_K_M; without a tag, the only one. Raises CheckpointNotFound."""
    matching = [file for file in files if tag is None or tag_of(file) == tag.upper()]
    if len(matching) == 1:
        return matching[0]
    known = sorted({found for file in files if (found := tag_of(file))})
    expected = f"one of {where}:{', :'.join(known)}" if len(known) > 1 or tag else "the path of one of them"
    if not files:
        raise CheckpointNotFound(f"{where} holds no GGUF file; expected a model's folder, or one with GGUF files")
    said = f"{len(matching)} GGUF files" if tag is None else f"{len(matching) or 'no'} GGUF file for {tag}"
    raise CheckpointNotFound(f"{where} holds {said}; expected {expected}")


def tag_of(file: str) -> str | None:
    """Of a file such as Tiny-Q4_K_M.gguf: Q4_K_M."""
    found = _TAG.search(file)
    return found[1].upper() if found else None


# ---- the hub


def hub_gguf(name: str) -> list[str]:
    """GGUF models of a repository; of what lies in the cache where the hub cannot be reached. Raises CheckpointNotFound
    if there is neither."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        return models_among(_files(name, HUB_SECONDS))
    except Exception as error:  # the hub and the network each have their own kinds
        with suppress(CacheNotFound):
            repositories = [repo for repo in scan_cache_dir().repos if repo.repo_id == name]
            snapshots = [revision.snapshot_path for repo in repositories for revision in repo.revisions]
            if snapshots:
                return sorted({file for snapshot in snapshots for file in gguf_files(snapshot)})
        why = first_line(error)
        raise CheckpointNotFound(f"{name} is neither in the hub's cache nor listed by the hub: {why}") from error


def _files(name: str, seconds: float) -> list[str]:
    """Of a repository of the hub, which is asked once: the library's own list tries again for half a minute."""
    from huggingface_hub import HfApi

    return [file.rfilename for file in HfApi().model_info(name, timeout=seconds).siblings or []]


def files_to_fetch(name: str, seconds: float) -> dict[str, list[str]]:
    """What of a hub's OWNER/MODEL[:TAG] is the model: patterns, as the hub's library takes them. The hub is asked
    once. Raises CheckpointNotFound for several GGUF files and no tag."""
    name, _, tag = name.partition(":")
    files = _files(name, seconds)
    safe = any(file.endswith(".safetensors") for file in files)
    if tag or (not safe and models_among(files)):
        file = Path(choose(models_among(files), tag or None, name))
        return {"allow_patterns": [part.as_posix() for part in parts_of(file)]}
    return {"allow_patterns": HUB_FILES if safe else [*HUB_FILES, PICKLED], "ignore_patterns": HUB_IGNORED}


def hub_snapshots() -> Iterator[tuple[str, Path]]:
    """Hub ids and newest snapshots of what lies in the hub's cache."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        repositories = scan_cache_dir().repos
    except CacheNotFound:
        return
    for repository in sorted(repositories, key=lambda r: r.repo_id):
        if newest := max(repository.revisions, key=lambda r: r.last_modified, default=None):
            yield repository.repo_id, newest.snapshot_path


def fetch(name: str, tag: str | None) -> Path:
    """The GGUF model of a repository that has this tag, or its only one, fetched where it is not in the cache."""
    from huggingface_hub import hf_hub_download

    file = Path(choose(hub_gguf(name), tag, name))
    try:
        fetched = [Path(hf_hub_download(name, part.as_posix())) for part in parts_of(file)]
    except Exception as error:  # the hub, its cache and the network each have their own kinds
        raise CheckpointNotFound(f"{name}: {file} could not be fetched: {first_line(error)}") from error
    return fetched[0]


# ---- Ollama


def ollama_models() -> Iterator[tuple[str, Path]]:
    """Names, as they are given here, and files of what Ollama has on this machine."""
    manifests = _ollama_store() / "manifests"
    for file in sorted(manifests.glob("*/*/*/*")):
        host, owner, model, tag = file.relative_to(manifests).parts
        name = "/".join([*([host] if host != _REGISTRY else []), *([owner] if owner != _LIBRARY else []), model])
        try:
            yield f"{OLLAMA}{name}:{tag}", _blob(file)
        except (CheckpointCorrupt, UnsupportedModel):
            continue


def _ollama_store() -> Path:
    homes = (Path.home() / ".ollama", Path("/usr/share/ollama/.ollama"), Path("/var/lib/ollama"))
    places = [Path(chosen)] if (chosen := os.environ.get("OLLAMA_MODELS")) else [home / "models" for home in homes]
    return next((place for place in places if (place / "manifests").is_dir()), places[0])


def _ollama_file(name: str) -> Path:
    path, _, tag = name.partition(":")
    parts = path.split("/")
    parts = [*([_REGISTRY, _LIBRARY][: 3 - len(parts)]), *parts]
    manifest = _ollama_store().joinpath("manifests", *parts, tag or "latest")
    if len(parts) != 3 or ".." in (*parts, tag) or not manifest.is_file():
        here = ", ".join(found for found, _ in ollama_models()) or "none"
        raise CheckpointNotFound(f"Ollama has no {name!r} in {_ollama_store()}; it has: {here}")
    return _blob(manifest)


def _blob(manifest: Path) -> Path:
    """The file with the weights that a manifest names."""
    try:
        layers: list[dict[str, Any]] = json.loads(manifest.read_text(encoding="utf-8"))["layers"]
        kinds = {layer["mediaType"]: str(layer["digest"]) for layer in layers}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointCorrupt(f"{manifest} is no manifest of Ollama's: {first_line(error)}; pull it again") from error
    if _ADAPTER_LAYER in kinds:
        raise UnsupportedModel(f"{manifest} adds an adapter, which is not applied here; expected a merged model")
    if (digest := kinds.get(_MODEL_LAYER)) is None:
        raise UnsupportedModel(f"{manifest} names no GGUF file; expected a model that is here, in that format")
    blob = manifest.parents[4] / "blobs" / digest.replace(":", "-")
    if not re.fullmatch(r"sha256:[0-9a-f]+", digest) or not blob.is_file():
        raise CheckpointCorrupt(f"{manifest} names weights that are not there ({blob.name}); pull it again")
    return blob


# ---- LM Studio


def lm_studio_folders() -> list[Path]:
    """Folders of models that LM Studio has fetched."""
    homes = (Path.home() / ".lmstudio", Path.home() / ".cache" / "lm-studio")
    return sorted({file.parent for home in homes for file in (home / "models").glob(f"*/*/*{SUFFIX}")})
