"""Fetches a model from the hub, and tells how far it has come. What was begun before goes on from there.

python -m specdec_tui.core.fetch OWNER/MODEL[:TAG]      prints a line for each step: bytes done and in all

A process of its own, so that it can be ended at any moment.
"""

from __future__ import annotations

import asyncio
import io
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from specdec.errors import LoadError

_FILES = ["*.json", "*.jinja", "*.txt", "*.model", "*.tiktoken", "*.safetensors", "*.py"]
_IGNORED = ["*/*", "consolidated*"]
_AGAIN = 3
"""Attempts on end of which none came further."""


async def fetch(name: str) -> AsyncGenerator[tuple[int, int]]:
    """Bytes done and in all, as far as is known. Leaving this ends it. Raises LoadError."""
    failed, done = 0, 0
    while True:
        before, why = done, ""
        async with aclosing(_attempt(name)) as lines:
            async for line in lines:
                numbers = line.split()
                if len(numbers) == 2 and all(n.isdigit() for n in numbers):
                    done = int(numbers[0])
                    yield done, int(numbers[1])
                else:
                    why = line
        if not why:
            return
        failed = 0 if done > before else failed + 1
        if failed == _AGAIN:
            raise LoadError(f"{name} could not be fetched: {why}")


async def _attempt(name: str) -> AsyncGenerator[str]:
    command = [sys.executable, "-m", "specdec_tui.core.fetch", name]
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=DEVNULL, stdin=DEVNULL)
    assert process.stdout
    try:
        async for line in process.stdout:
            yield line.decode().strip()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def main() -> None:
    from huggingface_hub import snapshot_download
    from tqdm.auto import tqdm

    class Told(tqdm):  # type: ignore[misc]
        """A bar of bytes that is printed as numbers. The hub has another one for what came over the wire."""

        def __init__(self, *arguments: Any, **options: Any) -> None:
            self.told = options.get("unit") == "B" and options.get("desc") != "Downloading bytes"
            super().__init__(*arguments, **{**options, "file": io.StringIO(), "disable": False, "mininterval": 0.1})

        def display(self, *_arguments: Any, **_options: Any) -> None:
            if self.told:
                sys.stdout.write(f"{int(self.n)} {int(self.total or 0)}\n")
                sys.stdout.flush()

    name, _, tag = sys.argv[1].partition(":")
    files = [f"*{tag}*.gguf"] if tag else _FILES
    try:
        snapshot_download(name, allow_patterns=files, ignore_patterns=_IGNORED, tqdm_class=Told, etag_timeout=5)
    except Exception as error:  # noqa: BLE001  (the hub, its cache and the network each have their own kinds)
        sys.stdout.write(" ".join(str(error).split())[:300] or type(error).__name__)


if __name__ == "__main__":
    main()
