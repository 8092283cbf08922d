"""`specdec doctor`: what this machine has, what is installed, and whether it works."""

from __future__ import annotations

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter

import typer
from rich.text import Text

import specdec
from specdec.cli import options as o
from specdec.cli.jsonable import print_json
from specdec.cli.screen import facts_table, loaded, stdout, working
from specdec.errors import DISTRIBUTION, SpecDecError

_EXTRAS = {
    "local": ("torch", "transformers", "tokenizers", "llguidance"),
    "gguf": ("gguf", "llama-cpp-python"),
    "server": ("fastapi", "uvicorn"),
    "tui": ("textual",),
    "mcp": ("mcp",),
    "langchain": ("langchain-core",),
    "agents": ("langchain",),
    "llama-index": ("llama-index-core",),
    "rag": ("llama-index-retrievers-bm25",),
    "embeddings": ("sentence-transformers",),
}
"""What each extra is told by."""
_DRIVER = Path("/proc/driver/nvidia/version")
_PROMPT = "Tell me a story about a shy fox."


@o.command
def doctor(json: o.Json = False) -> None:
    """Say what this machine has and what is installed, and answer a prompt with the bundled pair, plain and
    speculative. Exit code 1 if that fails; without the extra for local models it is not tried.

    Please put the output into reports of what is wrong; it names no files but caches, and nothing that you wrote.
    """
    facts = _machine() | _extras()
    with working("answering a prompt"):
        works, said = _tried()
    if json:
        print_json({"facts": facts, "works": works, "self_test": said})
    else:
        stdout().print(facts_table(facts))
        style = "dim" if works is None else "green" if works else "bold red"
        stdout().print(Text(f"{'works' if works else 'not tried' if works is None else 'FAILS'}: {said}", style=style))
    raise typer.Exit(1 if works is False else 0)


def _machine() -> dict[str, str]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    facts = {
        "specdec": f"{specdec.__version__}, {Path(specdec.__file__).parent}",
        "python": f"{platform.python_version()}, {sys.executable}",
        "system": f"{platform.platform()}, {cores} cores",
        "GPU": "not looked for: torch is not here",
        "hub cache": os.environ.get("HF_HOME") or "~/.cache/huggingface",
        "proxy": ", ".join(name for name in os.environ if name.lower().endswith("_proxy")) or "none set",
    }
    try:
        import torch
    except ModuleNotFoundError:
        return facts
    if torch.cuda.is_available():
        cards = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        facts["GPU"] = ", ".join(f"{c.name} ({c.total_memory / 2**30:.0f} GiB, {c.major}.{c.minor})" for c in cards)
        facts["CUDA"] = str(torch.version.cuda)
    else:
        built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "a CPU"
        facts["GPU"] = f"none that torch finds (its build is for {built})"
    if _DRIVER.exists():
        facts["driver"] = _DRIVER.read_text().splitlines()[0]
    return facts


def _extras() -> dict[str, str]:
    """Each extra: the versions it is told by, or the command that adds it."""
    facts = {}
    for extra, names in _EXTRAS.items():
        try:
            facts[extra] = ", ".join(f"{name} {version(name)}" for name in names)
        except PackageNotFoundError:
            facts[extra] = f"no: pip install '{DISTRIBUTION}[{extra}]'"
    return facts


def _tried() -> tuple[bool | None, str]:
    """Does it work, and how it went. None: it cannot be tried here."""
    try:
        version("torch")
    except PackageNotFoundError:
        return None, "models on this machine need the extra local; those of a server need nothing more"
    begun = perf_counter()
    try:
        with loaded(o.FORGETFUL) as engine:
            took = perf_counter() - begun
            plain, drafted = (
                engine.generate(_PROMPT, temperature=0.0, max_tokens=64, speculative=k) for k in ("off", 4)
            )
            where = f"{engine.info.backend} on {engine.info.device}"
    except SpecDecError as error:
        return False, " ".join(str(error).split())
    if plain.token_ids != drafted.token_ids:
        return False, f"{where}: plain and speculative texts differ"
    speeds = f"{plain.tokens_per_second:.0f} tokens/s plain, {drafted.tokens_per_second:.0f} speculative, the same text"
    return True, f"{where}: the bundled pair loads in {took:.1f} s, {speeds}"
