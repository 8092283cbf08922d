"""Environments for clients, made on first use and kept: virtual ones of Python, and folders of npm's."""

from __future__ import annotations

import os
import subprocess
import venv
from collections.abc import Mapping
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[2] / "out" / "clients"
PACKAGES = {
    "openai": ("openai>=3", "llm"),
    "anthropic": ("anthropic>=2",),
    "anthropic_frameworks": ("langchain-anthropic>=1", "litellm>=1.80"),
    "langchain": ("langchain-openai>=1", "langchain-tests>=1"),
    "frameworks": ("pydantic-ai-slim[openai]", "instructor", "smolagents>=1.20", "openai", "dspy>=3"),
    "llama_index": ("llama-index-llms-openai-like>=0.8",),
    "schemathesis": ("schemathesis>=4",),
    "aider": ("aider-chat>=0.86",),
}
NPM_PACKAGES = {
    "codex": "@openai/codex",
    "claude": "@anthropic-ai/claude-code",
    "cline": "cline",
    "continue": "@continuedev/cli",
}


def programs(name: str) -> Path:
    """Where the programs of an environment are; makes it if need be."""
    folder = ROOT / name
    done = folder / ".done"
    if not done.exists():
        if name in PACKAGES:
            venv.create(folder, with_pip=True, clear=True)
            install = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", *PACKAGES[name]]
        else:
            folder.mkdir(parents=True, exist_ok=True)
            install = ["npm", "install", "--silent", "--prefix", str(folder), NPM_PACKAGES[name]]
        subprocess.run(install, check=True)
        done.touch()
    return folder / ("bin" if name in PACKAGES else "node_modules/.bin")


def run(name: str, *command: str | Path, seconds: float = 900, environment: Mapping[str, str] | None = None) -> str:
    """What a program of an environment printed; its failure is the test's."""
    program, *arguments = command
    done = subprocess.run(
        [programs(name) / program, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
        env={**os.environ, **(environment or {})},
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-8000:]
    return done.stdout
