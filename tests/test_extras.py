"""What is not installed is named by the command that adds it; a server's models need nothing but the base."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.remote.scripted import ScriptedServer

EXTRAS = {
    "local": ("torch", "transformers", "tokenizers", "safetensors", "huggingface_hub", "llguidance"),
    "server": ("fastapi", "uvicorn", "sse_starlette", "prometheus_client"),
    "tui": ("textual", "textual_serve", "platformdirs"),
    "langchain": ("langchain_core",),
    "llama-index": ("llama_index.core",),
}


Done = subprocess.CompletedProcess[str]
Without = Callable[..., Done]


@pytest.fixture
def without(tmp_path: Path) -> Without:
    """Runs Python where what comes with an extra is not there, nor in the processes that this one starts."""

    def run(extra: str, *arguments: str) -> Done:
        hidden = f"import sys; sys.modules.update(dict.fromkeys({EXTRAS[extra]!r}))"
        (tmp_path / "sitecustomize.py").write_text(hidden)
        path = os.pathsep.join([str(tmp_path), *sys.path])
        return subprocess.run(
            [sys.executable, *arguments],
            env=os.environ | {"PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ScriptedServer(speculates=True, pace=0.0) as running:
        yield running.url


@pytest.mark.parametrize(
    ("extra", "command"),
    [
        ("local", "generate Hello"),
        ("local", "info"),
        ("local", "verify"),
        ("local", "bench"),
        ("local", "bench --peers"),
        ("local", "serve --port 0"),
        ("local", "tune x"),
        ("local", "models search fox"),
        ("server", "serve"),
        ("tui", "chat --serve"),
    ],
)
def test_commands_name_the_extra(without: Without, extra: str, command: str) -> None:
    done = without(extra, "-m", "specdec", *command.split())
    assert done.returncode == 2
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.endswith(f": pip install 'specdec-engine[{extra}]'\n")


@pytest.mark.parametrize(
    ("extra", "code"),
    [
        ("local", "import specdec; specdec.load()"),
        ("local", "from langchain_specdec import ChatSpecDec; ChatSpecDec().invoke('Hi')"),
        ("local", "from llama_index.llms.specdec import SpecDec; SpecDec().complete('Hi')"),
        ("langchain", "import langchain_specdec"),
        ("llama-index", "import llama_index.llms.specdec"),
        ("server", "import specdec_server"),
    ],
)
def test_python_names_the_extra(without: Without, extra: str, code: str) -> None:
    last = without(extra, "-c", code).stderr.splitlines()[-1]
    assert last.startswith("specdec.errors.MissingExtra: ")
    assert last.endswith(f": pip install 'specdec-engine[{extra}]'")


@pytest.mark.parametrize(
    "command",
    [
        "generate Once --max-tokens 3 --url",
        "info --target",
        "bench --category copy --limit 1 --repeats 1 --temperature 0 --plain-url {0} --url",
        "verify --trials 100 --plain-url {0} --url",
    ],
)
def test_commands_over_a_server_need_only_the_base(without: Without, command: str, server: str) -> None:
    done = without("local", "-m", "specdec", *command.format(server).split(), server)
    assert done.stdout, done.stderr
    assert "error" not in done.stderr


@pytest.mark.parametrize(
    "code",
    [
        "import specdec; print(specdec.load(sys.argv[1]).generate('Once', max_tokens=3).text)",
        "from langchain_specdec import ChatSpecDec; print(ChatSpecDec(base_url=sys.argv[1]).invoke('Hi').content)",
        "from llama_index.llms.specdec import SpecDec; print(SpecDec(base_url=sys.argv[1]).complete('Hi'))",
    ],
)
def test_classes_over_a_server_need_only_their_own(without: Without, code: str, server: str) -> None:
    done = without("local", "-c", f"import sys; {code}", server)
    assert done.stdout.startswith(" w0 w1"), done.stderr
