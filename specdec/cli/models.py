"""`specdec models`: what is on this machine, and how it would run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from specdec import bundled
from specdec.cli import options as o
from specdec.cli.jsonable import print_json
from specdec.cli.screen import stderr, stdout
from specdec.errors import SpecDecError

EPILOG = """
`hf download HUB-ID` fetches a model with progress, `hf cache rm HUB-ID` removes it: both come with the extra local.
"""


@dataclass(frozen=True, slots=True)
class LocalModel:
    """A checkpoint on this machine."""

    name: str
    """As --target and --draft take it."""
    gigabytes: float
    format: str
    runs: str
    """kernels: on NVIDIA GPUs by code made for speed, elsewhere by torch; transformers; or no, and why."""


@o.command
def models(
    folders: Annotated[list[Path] | None, typer.Argument(help="Folders to look into, beside the hub's cache.")] = None,
    json: o.Json = False,
) -> None:
    """List the models that are on this machine: size, format of the weights, and what would run them."""
    found = [_described(name, folder) for name, folder in _checkpoints(folders or [])]
    if json:
        print_json([asdict(model) for model in found])
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("model", "GB", "format", "runs by"):
        table.add_column(column, justify="right" if column == "GB" else "left", no_wrap=True)
    for model in found:
        table.add_row(model.name, f"{model.gigabytes:.2f}", model.format, model.runs)
    stdout().print(table)
    if len(found) == 1:
        stderr().print("nothing else is here yet: hf download HUB-ID fetches a model", style="dim", soft_wrap=True)


def _checkpoints(folders: list[Path]) -> Iterator[tuple[str, Path]]:
    """Names and folders: the bundled pair, the hub's cache, what is in these folders."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    yield "bundled", bundled.path("target")
    try:
        repositories = scan_cache_dir().repos
    except CacheNotFound:
        repositories = frozenset()
    for repository in sorted(repositories, key=lambda r: r.repo_id):
        newest = max(repository.revisions, key=lambda r: r.last_modified, default=None)
        if newest and (newest.snapshot_path / "config.json").exists():
            yield repository.repo_id, newest.snapshot_path
    for folder in folders:
        for config in sorted([*folder.glob("config.json"), *folder.glob("*/config.json")]):
            yield str(config.parent), config.parent


def _described(name: str, folder: Path) -> LocalModel:
    from specdec.models import families
    from specdec.models.weights import formats
    from specdec.models.weights.checkpoint import headers, read_config

    size = sum(file.stat().st_size for pattern in ("*.safetensors", "*.bin") for file in folder.glob(pattern)) / 1e9
    try:
        config = read_config(folder)
        formats.check(folder, config)
        kinds = {header.dtype for header in headers(folder) if len(header.shape) > 1}
        known = families.describe(config) is not None
        kind = formats.method_of(config) or ", ".join(sorted(kinds)) or "no safetensors"
    except SpecDecError as error:
        return LocalModel(name, size, "?", f"no: {' '.join(str(error).split())}")
    return LocalModel(name, size, kind, "kernels" if known else "transformers")
