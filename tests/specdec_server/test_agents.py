"""The first request of each agent, as it was recorded: its texts cut, and its tools without descriptions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from specdec.grammars.compiler import GrammarCompiler
from specdec.grammars.slow_tools import SlowTools
from specdec.grammars.tools import answer_grammar
from specdec.text.tokenizer import Tokenizer
from tests.decoding.toy import EOS, VOCAB, byte_tokenizer
from tests.fakes import ScriptedEngine
from tests.specdec_server.client import AppClient
from tests.text.tools.written import answer_format

RECORDED = Path(__file__).parent / "requests"
AGENTS = {
    "claude_code": (
        24,
        "context_management, system[].cache_control, messages[].content[].cache_control",
        "message_stop",
    ),
    "cline": (25, "", "[DONE]"),
    "codex": (
        7,
        "reasoning.summary, tools.namespace, tools.web_search, prompt_cache_key, client_metadata, include",
        "response.completed",
    ),
    "continue": (11, "", "[DONE]"),
}
"""Its tools, what is ignored, and how a stream ends. Claude Code 2.1, Cline 3.0, Codex 0.171, Continue 1.5."""


@pytest.mark.parametrize("agent", AGENTS)
async def test_is_answered_and_its_tools_can_all_be_held(engine: ScriptedEngine, ask: AppClient, agent: str) -> None:
    tools, ignored, end = AGENTS[agent]
    sent = json.loads((RECORDED / f"{agent}.json").read_text())
    response = await ask.client.post(sent["path"], json=sent["body"], headers=sent["headers"])
    assert response.status_code == 200, response.text
    assert response.headers.get("x-specdec-ignored", "") == ignored
    assert end in response.text
    (request,) = engine.requests
    assert len(request.tools) == tools
    held = next(SlowTools().ways(request.tools))
    compiler = GrammarCompiler(Tokenizer(byte_tokenizer()), VOCAB, [EOS])
    for family in ("hermes", "qwen_xml", "gemma"):
        grammar = answer_grammar(answer_format(family, {}), held, "auto")
        compiler.matcher(grammar, ignore_eos=False)  # raises if it takes too long, or cannot be
