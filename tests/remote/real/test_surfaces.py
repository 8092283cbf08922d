"""Every surface once over a real vLLM: nothing but the target's name changes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import specdec
from specdec.engine import Engine
from specdec.remote import RemoteEngine
from specdec.types import SamplingParams
from tests.remote.real.servers import vllm
from tests.remote.test_endpoint import endpoint

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
EXAMPLES = Path(__file__).parents[3] / "examples"
CHAT = "Tell me a story about a fox."


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with vllm(context=2048, draft="bundled") as url:
        yield url


@pytest.fixture(scope="module")
def own() -> Iterator[str]:
    """The target's own answer."""
    with specdec.load(draft="none", dtype="float32") as engine:
        yield _story(engine)


def _story(engine: Engine) -> str:
    return engine.generate([{"role": "user", "content": CHAT}], temperature=0.0, max_tokens=40).text


def _printed(*command: str) -> str:
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_command_line(url: str, own: str) -> None:
    said = _printed("-m", "specdec", "generate", CHAT, "--target", url, "--temperature", "0", "--max-tokens", "40")
    assert said.strip() == own.strip()


def test_the_endpoint(url: str, own: str) -> None:
    with endpoint("--upstream", url) as ours, RemoteEngine(ours) as engine:
        assert _story(engine) == own


async def test_the_terminal_chat(url: str, own: str) -> None:
    from specdec_tui.core.config import Config
    from specdec_tui.core.settings import ChatSettings
    from tests.specdec_tui.running import running

    config = Config(settings=ChatSettings(SamplingParams(temperature=0.0, max_tokens=40)))
    with RemoteEngine(url) as engine:
        async with running(engine, config=config) as chat:
            await chat.ready()
            await chat.ask(CHAT)
            assert chat.texts[-1].strip() == own.strip()


@pytest.mark.parametrize(
    ("example", "question", "answer"),
    [
        ("langchain_agent.py", "What is the weather in Oslo?", "get_weather({'city': 'Oslo'})"),
        ("llama_index_query_engine.py", "When does ferry GH-204 leave?", "GH-204"),
    ],
)
def test_an_example(url: str, example: str, question: str, answer: str) -> None:
    if not (EXAMPLES / example).exists():
        pytest.skip(f"examples/{example} is not here")
    assert answer in _printed(str(EXAMPLES / example), "--target", url, "--question", question)
