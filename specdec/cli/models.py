"""`specdec models`: what is on this machine and how it would run, what the hub has, fetching and removing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from specdec import bundled
from specdec.cli import options as o
from specdec.cli.jsonable import print_json
from specdec.cli.screen import stderr, stdout
from specdec.errors import InvalidRequest, SpecDecError, UnsupportedModel

EPILOG = """
specdec models search qwen3 0.6b: what the hub has, the most wanted first.

specdec models pull Qwen/Qwen3-0.6B: fetch it. Ctrl-C ends that; the next pull goes on from there.

specdec models pull owner/model:Q4_K_M: one GGUF file.

specdec models remove Qwen/Qwen3-0.6B: ask, then remove it from the hub's cache.
"""
_ACTIONS = {
    "search": "words, as in: specdec models search qwen3 0.6b",
    "pull": "one name, as in: specdec models pull Qwen/Qwen3-0.6B",
    "remove": "one name, as in: specdec models remove Qwen/Qwen3-0.6B",
}
"""And what has to follow."""


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A checkpoint on this machine."""

    name: str
    """As --target and --draft take it."""
    gigabytes: float
    format: str
    runs: str
    """fast: on NVIDIA GPUs by kernels made for speed; runs: through transformers or llama.cpp; or no, and why."""
    drafts: str
    """What drafts for it if nothing is said."""


@o.command
def models(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[search|pull|remove] [NAME]...",
            help="None of the three: folders to look into, beside the hub's cache, and hub ids of targets.",
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove without asking.")] = False,
    json: o.Json = False,
) -> None:
    """List the models that are on this machine, of the hub's cache, Ollama and LM Studio too: size, format of the
    weights, whether they run fast or run, and what would draft for them. Or search the hub, pull from it, remove."""
    action, *names = words or [""]
    if action not in _ACTIONS:
        _list([Path(word) for word in words or []], json=json)
        return
    from specdec.cli import hub

    if action == "search" and names:
        hub.search(" ".join(names), json=json)
    elif len(names) != 1:
        raise InvalidRequest(action, " ".join(names), _ACTIONS[action])
    elif action == "pull":
        hub.pull(names[0])
    else:
        hub.remove(names[0], yes=yes)


def _list(folders: list[Path], *, json: bool) -> None:
    found = [_described(name, folder) for name, folder in _checkpoints([f for f in folders if f.exists()])]
    here = {model.name for model in found}
    absent = [str(name) for name in folders if not name.exists() and str(name) not in here]  # not fetched yet
    found += [LocalModel(name, 0.0, "?", "not here", _drafts(name, Path(name))) for name in absent]
    if json:
        print_json([asdict(model) for model in found])
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("model", "GB", "format", "runs", "drafts from"):
        table.add_column(column, justify="right" if column == "GB" else "left", no_wrap=True)
    for model in found:
        table.add_row(model.name, f"{model.gigabytes:.2f}", model.format, model.runs, model.drafts)
    stdout().print(table)
    if len(found) == 1:
        stderr().print(
            "nothing else is here yet: specdec models pull HUB-ID fetches a model", style="dim", soft_wrap=True
        )


def _checkpoints(folders: list[Path]) -> Iterator[tuple[str, Path]]:
    """Names, and folders or files: the bundled pair, what others have fetched, and what is in these folders."""
    from specdec.models.weights import stores

    yield "bundled", bundled.path("target")
    for name, snapshot in stores.hub_snapshots():
        if files := stores.gguf_files(snapshot):
            yield from ((f"{name}:{stores.tag_of(file) or file}", snapshot / file) for file in files)
        elif (snapshot / "config.json").exists():
            yield name, snapshot
    yield from stores.ollama_models()
    for folder in [*stores.lm_studio_folders(), *folders]:
        for config in sorted([*folder.glob("config.json"), *folder.glob("*/config.json")]):
            if not stores.gguf_files(config.parent):
                yield str(config.parent), config.parent
        for file in stores.gguf_files(folder):
            yield str(folder / file), folder / file


def _described(name: str, path: Path) -> LocalModel:
    from specdec.gguf import is_gguf, parts_of

    gguf = is_gguf(path)
    weights = parts_of(path) if gguf else [*path.glob("*.safetensors"), *path.glob("*.bin")]
    size = sum(file.stat().st_size for file in weights if file.exists()) / 1e9
    try:
        kind, runs = _gguf(path) if gguf else _folder(path)
    except SpecDecError as error:
        why = " ".join(str(error).split()).replace(f"{path}{os.sep}", "")  # the row has a name already
        return LocalModel(name, size, "?", f"no: {why}", "nothing")
    return LocalModel(name, size, kind, runs, "nothing" if kind.endswith(" head") else _drafts(name, path))


def _drafts(name: str, path: Path) -> str:
    """What drafts for it if nothing is said, and what could, with what it is for."""
    from specdec.drafters.heads.config import method_of
    from specdec.drafters.heads.finding import local_heads, published
    from specdec.drafters.heads.loading import check_head

    if name == "bundled":
        return "its draft model and the text so far"
    known = published(name)
    for head, at in local_heads(name, path):
        with suppress(SpecDecError):  # it is left alone where the target is loaded, too
            check_head(at, path, name)
            told = next((str(other) for other in known if other.name == head), f"{head} (head: {method_of(at)})")
            return f"{told} and the text so far"
    fetched = f"; --fetch-draft: {known[0]}" if known else ""
    return f"the text so far{fetched}" + "".join(f"; also there is {head}" for head in known[1:])


def _folder(folder: Path) -> tuple[str, str]:
    """Format of the weights, and how it runs."""
    from specdec.drafters.heads.config import method_of, verifier_of
    from specdec.models import families
    from specdec.models.weights import formats
    from specdec.models.weights.checkpoint import headers, read_config, resolve

    if head := method_of(folder):
        return f"{head} head", f"drafts for {verifier_of(folder) or 'its target'}"
    config = read_config(resolve(folder))
    formats.check(folder, config)
    kinds = {header.dtype for header in headers(folder) if len(header.shape) > 1}
    method = formats.method_of(config)
    fast = families.describe(config) is not None and (method is None or formats.reader_of(config) is not None)
    return method or ", ".join(sorted(kinds)) or "no safetensors", "fast" if fast else "runs"


def _gguf(file: Path) -> tuple[str, str]:
    """The same of a GGUF file."""
    from specdec.gguf import open_gguf
    from specdec.models.weights.gguf import read_gguf_config

    kind = open_gguf(file).format
    try:
        read_gguf_config(file)
    except UnsupportedModel:
        if find_spec("llama_cpp") is None:
            raise
        return kind, "runs"
    return kind, "fast"
