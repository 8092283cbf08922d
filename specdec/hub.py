"""Models of the hub: found there, fetched with progress, removed from this machine. The chat and `specdec models` both
use this.

python -m specdec.hub OWNER/MODEL[:TAG]      fetches, and prints a line for each step: bytes done and in all

A download is a process of its own, so that it can be ended at any moment. What came stays: the next one goes on there.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import shutil
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any, BinaryIO

from specdec.errors import ERRNO, InvalidRequest, LoadError, extra, first_line
from specdec.models.weights import stores

_AGAIN = 3
"""Attempts on end of which none came further."""
_FOUND = 30
"""Models that a search shows."""
WEIGHTS = ("*.safetensors", "*.bin", "*.gguf", "*.incomplete")
_PATIENCE = 5.0
"""Seconds that the hub may take to answer."""
_REFUSED = 3
"""What a process that printed why it failed ends with."""


@dataclass(frozen=True, slots=True)
class HubModel:
    """A model that the hub has."""

    name: str
    downloads: int
    """Of the last month."""


@dataclass(frozen=True, slots=True)
class Step:
    """How far a download has come, in bytes."""

    done: int
    total: int
    """As far as is known: 0 at the beginning."""
    rate: float
    """Bytes a second since it began; what was here before does not count."""


def cache_folder() -> Path:
    """Where the hub's own library keeps what was fetched."""
    if cache := os.environ.get("HF_HUB_CACHE"):
        return Path(cache)
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface"
    return Path(os.path.expanduser(home)) / "hub"


def folder_of(name: str) -> Path:
    """Where what was fetched of OWNER/MODEL[:TAG] is, or would be."""
    return cache_folder() / f"models--{name.partition(':')[0].replace('/', '--')}"


def search(words: str) -> list[HubModel]:
    """Models that write text, the most wanted first. Blocks; raises LoadError where the hub cannot be reached."""
    with extra("local", "a search"):
        from huggingface_hub import constants, get_session

    asked = {"search": words, "filter": "text-generation", "sort": "downloads", "limit": _FOUND}
    try:  # not by `list_models`, which tries for half a minute where there is no network
        answer = get_session().get(f"{constants.ENDPOINT}/api/models", params=asked, timeout=_PATIENCE)
        return [HubModel(model["id"], model.get("downloads", 0)) for model in answer.raise_for_status().json()]
    except Exception as error:  # the hub and the network each have their own kinds
        raise LoadError(f"the hub cannot be reached: {first_line(error)}") from error


def known(name: str) -> bool:
    """Whether there is such a model: a path, Ollama's, in the cache or at the hub. Blocks; raises LoadError where the
    hub cannot be reached, or for a tag that a folder or Ollama has not."""
    place = name.rpartition(":")[0] or name
    tagged = place != name and os.path.isdir(os.path.expanduser(place))
    if name.startswith(stores.OLLAMA) or tagged:
        return stores.named_gguf(name) is not None
    if os.path.exists(os.path.expanduser(name)) or any(folder_of(name).glob("snapshots/*/*")):
        return True
    with extra("local", "a hub id"):
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError
    try:
        HfApi().model_info(place, timeout=_PATIENCE)
    except (HFValidationError, RepositoryNotFoundError):
        return False
    except Exception as error:  # the hub and the network each have their own kinds
        raise LoadError(f"{name} is not here, and the hub cannot be reached: {first_line(error)}") from error
    return True


async def fetch(name: str) -> AsyncGenerator[Step]:
    """Fetch OWNER/MODEL, or the GGUF file of OWNER/MODEL:TAG. Leaving this ends it. Raises LoadError."""
    failed, done, begun = 0, 0, None
    while True:
        before, why = done, ""
        async with aclosing(_attempt(name)) as lines:
            async for line in lines:
                match line.split():
                    case [now, total] if now.isdigit() and total.isdigit():
                        done, clock = int(now), time.monotonic()
                        begun = begun or (done, clock)
                        yield Step(done, int(total), (done - begun[0]) / (clock - begun[1] + 1e-9))
                    case _:
                        why = line
        if not why:
            return
        failed = 0 if done > before else failed + 1
        if failed == _AGAIN:
            raise LoadError(f"{name} could not be fetched: {why}")


async def _attempt(name: str) -> AsyncGenerator[str]:
    """A line for each step, and at the end why it failed if it did."""
    command = [sys.executable, "-m", "specdec.hub", name]
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=DEVNULL, stdin=DEVNULL)
    assert process.stdout
    try:
        async for line in process.stdout:
            yield line.decode().strip()
        if await process.wait() not in (0, _REFUSED):
            yield f"its process ended with code {process.returncode}"
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def progress(step: Step) -> str:
    """Bytes, bytes a second, and the time left as far as these say."""
    left = (step.total - step.done) / step.rate if step.rate > 0 else 0
    minutes, seconds = divmod(round(left), 60)
    parts = [f"{size(step.done)} of {size(step.total)}" if step.total else size(step.done), f"{size(step.rate)}/s"]
    return " · ".join([*parts, f"{minutes}:{seconds:02} left"] if left > 0 else parts)


def size(count: float) -> str:
    """Bytes in the unit that leaves few digits."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if count >= 10 or unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


# ---- what is here


def whole(name: str) -> bool:
    """Whether weights of OWNER/MODEL[:TAG] are in the cache, and all that its index names."""
    folder, tag = folder_of(name), name.partition(":")[2].upper()
    for snapshot in folder.glob("snapshots/*") if os.path.exists(folder) else ():  # a name may be no path at all
        files = {file.name for kind in WEIGHTS[:3] for file in snapshot.rglob(kind)}
        wanted = {file for index in snapshot.glob("*.index.json") for file in _indexed(index)}
        if wanted <= files and any(not tag or stores.tag_of(file) == tag for file in files):
            return True
    return False


def _indexed(index: Path) -> set[str]:
    """The files that an index names; none that stands in a folder, which nobody loads."""
    try:
        named = set(json.loads(index.read_text("utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return set()  # whoever loads it says what is wrong
    return {file for file in named if "/" not in file}


def here(name: str) -> list[Path]:
    """Files of OWNER/MODEL[:TAG] that take room on this machine, half-fetched ones too; of a tag, its own alone.
    Raises InvalidRequest where there are none."""
    folder, tag = folder_of(name), name.partition(":")[2].upper()
    found = [file for file in folder.rglob("*") if file.is_file() and (not tag or stores.tag_of(file.name) == tag)]
    if not found:
        raise InvalidRequest("model", name, "one of the hub's that specdec models lists")
    return list({at: None for file in found for at in (file, file.resolve())})  # a snapshot's are links


def bytes_of(files: list[Path]) -> int:
    return sum(file.stat().st_size for file in files if not file.is_symlink())


def remove(name: str) -> None:
    """What `here` says, and what only stood around it. Raises LoadError for what cannot be removed."""
    folder = folder_of(name)
    try:
        for file in here(name):
            file.unlink()
        if not any(next(folder.rglob(kind), None) for kind in WEIGHTS):
            shutil.rmtree(folder)
    except OSError as error:
        raise LoadError(f"{name} could not be removed: {first_line(error)}") from error


# ---- the process that fetches


def main() -> None:
    try:
        _fetch(sys.argv[1])
    except Exception as error:  # noqa: BLE001  (the hub, its cache and the network each have their own kinds)
        sys.stdout.write(" ".join(ERRNO.sub("", str(error)).split())[:300] or type(error).__name__)
        sys.exit(_REFUSED)


def _goes_on(http_get: Callable[..., None]) -> Callable[..., None]:
    """The hub's library begins a file anew that another process did not end, under another name. So it is kept under
    one more, from which the next process goes on; the library's lock on the file is held meanwhile."""

    def get(url: str, temp_file: BinaryIO, **options: Any) -> None:  # the names by which the library calls it again
        present = Path(temp_file.name)
        etag = present.name.partition(".")[0]
        kept = present.with_name(f"{etag}.kept.incomplete")
        if not temp_file.tell():
            if kept.exists() and not kept.samefile(present):
                before = kept.stat()
                if before.st_size <= (options.get("expected_size") or 0):
                    with kept.open("rb") as begun:
                        shutil.copyfileobj(begun, temp_file)
                for left in present.parent.glob(f"{etag}.*.incomplete"):
                    if left.stat().st_ino == before.st_ino:
                        left.unlink()
            with suppress(OSError):  # where a file has one name alone, it is begun anew
                os.link(present, kept)
            options["resume_size"] = temp_file.tell()
        http_get(url, temp_file, **options)
        kept.unlink(missing_ok=True)

    return get


def _fetch(name: str) -> None:
    with extra("local", "fetching"):
        from huggingface_hub import file_download, snapshot_download
        from tqdm.auto import tqdm

    class PrintedBar(tqdm):  # type: ignore[misc]
        """A bar of bytes that is printed as numbers. The hub has another one for what came over the wire."""

        def __init__(self, *arguments: Any, **options: Any) -> None:
            self._printed = options.get("unit") == "B" and options.get("desc") != "Downloading bytes"
            options.pop("name", None)  # older hub libraries give their own bars' groups
            super().__init__(*arguments, **{**options, "file": io.StringIO(), "disable": False, "mininterval": 0.1})

        def display(self, *_arguments: Any, **_options: Any) -> None:
            if self._printed:
                sys.stdout.write(f"{int(self.n)} {int(self.total or 0)}\n")
                sys.stdout.flush()

    if {"temp_file", "resume_size"} <= signature(file_download.http_get).parameters.keys():  # else it begins anew
        file_download.http_get = _goes_on(file_download.http_get)
    wanted = stores.files_to_fetch(name, _PATIENCE)
    snapshot_download(name.partition(":")[0], **wanted, tqdm_class=PrintedBar, etag_timeout=_PATIENCE)


if __name__ == "__main__":
    main()
