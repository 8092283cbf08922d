"""Which models there are to choose from: on this machine, at servers, at the hub."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from specdec import hub
from specdec.errors import InvalidRequest
from specdec_tui.core.files import expanded

_FEW = 200
"""Models of one folder; a list longer than this helps nobody."""


_PATIENCE = 5.0
"""Seconds that the hub may take to answer."""


@dataclass(frozen=True, slots=True)
class NamedServer:
    """An OpenAI-compatible server, as chat.toml names it."""

    url: str = ""
    api_key: str | None = None

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")):
            raise InvalidRequest("servers", self.url, "a url such as http://localhost:8000/v1 for each")


@dataclass(frozen=True, slots=True)
class ModelOption:
    """What `load` would be called with, and where it comes from."""

    name: str
    source: str
    details: str = ""
    """Size, format, how it runs, and what drafts for it."""
    api_key: str | None = None
    """Of its server."""


def models(folders: Iterable[Path] = ()) -> list[ModelOption]:
    """All that can be loaded without a network, by name alone: what has a config."""
    cached = [
        path for path in sorted(hub.cache_folder().glob("models--*")) if any(path.glob("snapshots/*/config.json"))
    ]
    names = [path.name.removeprefix("models--").replace("--", "/") for path in cached]
    found = [ModelOption("bundled", "comes with specdec"), *(ModelOption(name, "hub cache") for name in names)]
    for folder in map(expanded, folders):
        with suppress(OSError):
            inner = sorted(folder.iterdir())[:_FEW] if folder.is_dir() else []
            models = [path for path in (folder, *inner) if (path / "config.json").is_file()]
            found += [ModelOption(str(path), f"folder {path.parent}") for path in models]
    return found


async def described(folders: Iterable[Path]) -> list[ModelOption]:
    """All that `specdec models` lists, which reads the files; in a process of its own, for that imports torch."""
    command = [sys.executable, "-m", "specdec", "models", "--json", *(str(expanded(f)) for f in folders)]
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=DEVNULL, stdin=DEVNULL)
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    found = json.loads(output) if process.returncode == 0 else []
    return [
        ModelOption(m["name"], f"{m['gigabytes']:.2f} GB", f"{m['format']} · {m['runs']} · drafts: {m['drafts']}")
        for m in found
    ]


def served(name: str, server: NamedServer) -> list[ModelOption]:
    """What a server has. Blocks for a moment; a server that is not there has nothing."""
    key = server.api_key or os.environ.get("SPECDEC_API_KEY")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        answer = httpx.get(f"{server.url}/models", headers=headers, timeout=_PATIENCE).raise_for_status()
        ids = [str(model["id"]) for model in answer.json()["data"]]
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError):
        return []
    return [ModelOption(f"{server.url}#{model}", f"server {name}", api_key=server.api_key) for model in ids]


def search(words: str) -> list[ModelOption]:
    """What the hub has, the most wanted first. Blocks; raises LoadError where it cannot be reached."""
    return [ModelOption(m.name, "hub", f"{m.downloads:,} downloads a month") for m in hub.search(words)]


def missing(name: str) -> bool:
    """Whether this is a hub id that is not wholly here."""
    here = os.path.exists(expanded(name)) or name.startswith(("http://", "https://", "ollama:"))
    return not here and "/" in name and not hub.whole(name)
