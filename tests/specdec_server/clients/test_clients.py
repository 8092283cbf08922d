"""Each client's program, against one server on the bundled pair."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from specdec.types import GenerationEvent, Message, Request
from tests.fakes import SCRIPTED_INFO, ScriptedEngine, call
from tests.specdec_server.bundled import Bundled, bundled_server
from tests.specdec_server.clients.environments import HERE, programs, run
from tests.specdec_server.live import live

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def server() -> Iterator[Bundled]:
    with bundled_server("--slots", "4") as server:
        yield server
        assert httpx.get(f"{server.url}/ready").status_code == 200


def test_openai(server: Bundled) -> None:
    run("openai", "python", HERE / "use_openai.py", server.base)


def test_anthropic(server: Bundled) -> None:
    run("anthropic", "python", HERE / "use_anthropic.py", server.url)


def test_anthropic_frameworks(server: Bundled) -> None:
    home = {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    run("anthropic_frameworks", "python", HERE / "use_anthropic_frameworks.py", server.url, environment=home)


def test_frameworks(server: Bundled) -> None:
    run("frameworks", "python", HERE / "use_frameworks.py", server.base)


def test_llama_index(server: Bundled) -> None:
    run("llama_index", "python", HERE / "use_llama_index.py", server.base)


def test_langchain(server: Bundled) -> None:
    settings = ["asyncio_mode=auto"]  # and one loop for all tests: ChatOpenAI keeps its connections beyond a test
    settings += [f"asyncio_default_{what}_loop_scope=session" for what in ("test", "fixture")]
    options = ["-q", "-c", "/dev/null", "--rootdir", str(HERE), "--noconftest"]
    options += [part for setting in settings for part in ("-o", setting)]
    suite = HERE / "langchain_suite.py"
    printed = run("langchain", "python", "-m", "pytest", *options, suite, environment={"SPECDEC_URL": server.base})
    assert " passed" in printed and " failed" not in printed


def test_llm_command(server: Bundled, tmp_path: Path) -> None:
    model = {"model_id": "local", "model_name": "bundled", "api_base": server.base}
    (tmp_path / "extra-openai-models.yaml").write_text(json.dumps([model]))
    home = {"LLM_USER_PATH": str(tmp_path), "OPENAI_API_KEY": "none"}
    asked = ("llm", "-m", "local", "-o", "temperature", "0", "-o", "max_tokens", "20", "Tell me a story.")
    streamed = run("openai", *asked, environment=home)
    whole = run("openai", *asked, "--no-stream", environment=home)
    assert streamed.strip() and streamed == whole


def test_aider_edits_a_file_as_the_model_says(tmp_path: Path) -> None:
    """Scripted, for the bundled model writes no code."""
    file = tmp_path / "hello.py"
    file.write_text("print('hello')\n")
    engine = ScriptedEngine(
        ["hello.py\n", "```python\n", "print(", "'bye'", ")\n", "```\n"],
        info=replace(SCRIPTED_INFO, context=32_768),
    )
    with live(engine) as scripted:
        home = {
            "HOME": str(tmp_path),
            "OPENAI_API_BASE": f"http://127.0.0.1:{scripted.port}/v1",
            "OPENAI_API_KEY": "none",
        }
        flags = "--no-git --yes-always --no-check-update --analytics-disable --no-show-model-warnings"
        asked = ["--model", "openai/scripted", "--edit-format", "whole", "--message", "Say bye."]
        history: list[str | Path] = [
            "--chat-history-file",
            tmp_path / "chat.md",
            "--input-history-file",
            tmp_path / "input",
        ]
        run("aider", "aider", *flags.split(), *asked, *history, file, environment=home)
    assert file.read_text() == "print('bye')\n"


def test_schemathesis() -> None:
    """5,000 cases of the schema, valid and not: no answer is a 5xx, and each is what the schema says."""
    with bundled_server("--context", "64") as short:  # answers are not what this is about
        checks = "not_a_server_error,status_code_conformance,content_type_conformance"
        options = f"--max-examples 1700 --checks {checks} --phases fuzzing --workers 4 --request-timeout 60"
        options += " --suppress-health-check all"
        asked = ("schemathesis", "run", f"{short.url}/openapi.json", *options.split())
        printed = run("schemathesis", *asked, seconds=3500)
    assert int(printed.split(" generated, ")[0].split()[-1]) >= 5000


class CallingEngine(ScriptedEngine):
    """Calls a tool, and then says what came of it."""

    def __init__(self, tool: str, arguments: Mapping[str, Any]) -> None:
        super().__init__(call(tool, arguments), info=replace(SCRIPTED_INFO, context=200_000))

    def _admit(self, request: Request) -> tuple[Request, list[GenerationEvent]]:
        last = request.prompt[-1]
        if isinstance(last, Message) and last.role == "tool":
            self.script = self.speculative_script = ["It says: ", last.content or ""]
        return super()._admit(request)


def test_claude_code_uses_a_tool(tmp_path: Path) -> None:
    node = shutil.which("node")
    assert node
    engine = CallingEngine("Bash", {"command": "echo fox-$((40 + 2))", "description": "Says something."})
    with live(engine) as scripted:
        home = {
            "HOME": str(tmp_path),
            "ANTHROPIC_BASE_URL": f"http://127.0.0.1:{scripted.port}",
            "ANTHROPIC_AUTH_TOKEN": "none",
            "ANTHROPIC_MODEL": "scripted",
            "ANTHROPIC_DEFAULT_HAIKU_MODEL": "scripted",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        }
        program = programs("claude") / "../@anthropic-ai/claude-code/cli-wrapper.cjs"
        printed = run("claude", node, program, "-p", "Say it.", "--allowedTools", "Bash", environment=home)
    assert "It says: fox-42" in printed


def test_codex_uses_a_tool(tmp_path: Path) -> None:
    """What came of it is told, whatever that is: the sandbox may not start here."""
    engine = CallingEngine("exec_command", {"cmd": "echo fox"})
    (tmp_path / ".codex").mkdir()
    with live(engine) as scripted:
        (tmp_path / ".codex" / "config.toml").write_text(
            f"""model = "scripted"
model_provider = "specdec"
[model_providers.specdec]
name = "SpecDec"
base_url = "http://127.0.0.1:{scripted.port}/v1"
wire_api = "responses"
"""
        )
        asked = ("exec", "--skip-git-repo-check", "Say it.")
        printed = run("codex", "codex", *asked, environment={"HOME": str(tmp_path)})
    assert "It says: " in printed and len(engine.requests) == 2


def test_continue_uses_a_tool(tmp_path: Path) -> None:
    engine = CallingEngine("Bash", {"command": "echo fox-$((40 + 2))"})
    with live(engine) as scripted:
        model = {
            "name": "SpecDec",
            "provider": "openai",
            "model": "scripted",
            "apiBase": f"http://127.0.0.1:{scripted.port}/v1",
            "apiKey": "none",
            "roles": ["chat", "edit", "apply", "autocomplete"],
        }
        config = tmp_path / "config.yaml"
        config.write_text(json.dumps({"name": "Local", "version": "1.0.0", "schema": "v1", "models": [model]}))
        asked = ("-p", "Say it.", "--auto", "--config", config)
        printed = run("continue", "cn", *asked, environment={"HOME": str(tmp_path)})
    assert "It says: fox-42" in printed


def test_cline_uses_a_tool(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path)}
    engine = CallingEngine("run_commands", {"commands": ["echo fox-$((40 + 2))"]})
    with live(engine) as scripted:
        base = f"http://127.0.0.1:{scripted.port}/v1"
        try:
            run("cline", "cline", *f"auth -p openai -k none -m scripted -b {base}".split(), environment=home)
            printed = run("cline", "cline", "Say it.", environment=home)
        finally:
            run("cline", "cline", "hub", "stop", environment=home)  # which it leaves behind
    assert "It says: " in printed and "fox-42" in printed
