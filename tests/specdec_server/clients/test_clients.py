"""Each client's program, against one server on the bundled pair."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.specdec_server.bundled import Bundled, bundled_server
from tests.specdec_server.clients.environments import HERE, run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def server() -> Iterator[Bundled]:
    with bundled_server("--slots", "4") as server:
        yield server
        assert httpx.get(f"{server.url}/ready").status_code == 200


def test_openai(server: Bundled) -> None:
    run("openai", "python", HERE / "use_openai.py", server.base)


def test_llama_index(server: Bundled) -> None:
    run("llama_index", "python", HERE / "use_llama_index.py", server.base)


def test_langchain(server: Bundled) -> None:
    settings = [
        "asyncio_mode=auto"
    ]  # and one loop for all tests: ChatOpenAI keeps its connections beyond a test
    settings += [f"asyncio_default_{what}_loop_scope=session" for what in ("test", "fixture")]
    options = ["-q", "-c", "/dev/null", "--rootdir", str(HERE), "--noconftest"]
    options += [part for setting in settings for part in ("-o", setting)]
    suite = HERE / "langchain_suite.py"
    printed = run(
        "langchain", "python", "-m", "pytest", *options, suite, environment={"SPECDEC_URL": server.base}
    )
    assert " passed" in printed and " failed" not in printed


def test_llm_command(server: Bundled, tmp_path: Path) -> None:
    model = {"model_id": "local", "model_name": "bundled", "api_base": server.base}
    (tmp_path / "extra-openai-models.yaml").write_text(json.dumps([model]))
    home = {"LLM_USER_PATH": str(tmp_path), "OPENAI_API_KEY": "none"}
    asked = ("llm", "-m", "local", "-o", "temperature", "0", "-o", "max_tokens", "20", "Tell me a story.")
    streamed = run("openai", *asked, environment=home)
    whole = run("openai", *asked, "--no-stream", environment=home)
    assert streamed.strip() and streamed == whole


def test_schemathesis() -> None:
    """5,000 cases of the schema, valid and not: no answer is a 5xx, and each is what the schema says."""
    with bundled_server("--context", "64") as short:  # answers are not what this is about
        printed = run(
            "schemathesis", "schemathesis", "run", f"{short.url}/openapi.json", "--max-examples", "1700", "--checks",
            "not_a_server_error,status_code_conformance,content_type_conformance", "--phases", "fuzzing", "--workers",
            "4", "--request-timeout", "60", "--suppress-health-check", "all", seconds=3500,
        )  # fmt: skip
    assert int(printed.split(" generated, ")[0].split()[-1]) >= 5000
