"""Tool formats are known by their templates."""

from __future__ import annotations

import pytest

from specdec.errors import InvalidRequest
from specdec.text.tools.formats import TOOL_FORMATS, AnswerFormat
from specdec.text.tools.template import ResponseTemplate

HERMES = "{% if tools %}<tools>{% endif %}<tool_call>{{ call.name }}</tool_call>"
LLAMA = 'Environment: ipython {"name": function name, "parameters": dictionary}'
MISTRAL = "[AVAILABLE_TOOLS]{{ tools }}[/AVAILABLE_TOOLS] [TOOL_CALLS] ["


@pytest.mark.parametrize(("template", "name"), [
    (HERMES, "hermes"), (LLAMA, "llama3"), (MISTRAL, "mistral"), ("{{ messages }}", None), ("", None),
    ("<tool_call>\n<function=name>", None), ("[TOOL_CALLS]name[ARGS]", "mistral_args"),
    ("[TOOL_CALLS]name[CALL_ID]id[ARGS]", "mistral_ids"), ("{{ '<|tool_calls_section_begin|>' }}", "kimi"),
    ("<tool_call>\n<invoke name=x>", None), ("<tool_calls>[<tool_call>]</tool_calls>", None),
    ("<tool_call>\n<function=name>\n<parameter=key>", "qwen_xml"), ("<tool_call>{{ n }}<arg_key>", "glm_dense"),
    ("{{ '<tool_call>' + n + '\\n<arg_key>' + k + '</arg_key>\\n<arg_value>' }}", "glm"),
    ("<|start|>assistant to=functions.{{ n }}<|channel|>commentary json<|message|>", "harmony"),
    ("{{ '<|tool_call>call:' + n + '{' }}{{ '<|\"|>' + v + '<|\"|>' }}<|channel>thought\n<channel|>", "gemma"),
    ("{{ '<start_function_call>call:' + n }}{{ '<escape>' + v + '<escape>' }}", "function_gemma"),
    ("<｜tool▁calls▁begin｜>{{ n }}\n```json\n", "deepseek_r1"), ("<｜tool▁calls▁begin｜>{{ n }}", "deepseek"),
    ("{% set d = '｜DSML｜' %}<{{ d }}function_calls>{{ message.tool_calls }}", "deepseek_v32"),
    ("<｜DSML｜tool_calls>\n<｜DSML｜invoke", "deepseek_v4"), ("<｜DSML｜ calls>\n<｜DSML｜ invoke", None),
])  # fmt: skip
def test_detected(template: str, name: str | None) -> None:
    found = AnswerFormat.of("auto", template, {}).tools
    assert (found and found.name) == name


def test_selected() -> None:
    assert AnswerFormat.of("mistral", HERMES, {}).tools is TOOL_FORMATS["mistral"]
    assert AnswerFormat.of("none", HERMES, {}).tools is None
    with pytest.raises(InvalidRequest, match="tool_format is 'xml'; expected auto, none, gemma"):
        AnswerFormat.of("xml", HERMES, {})


def test_calls_of_a_foreign_format_are_read_by_its_response_template() -> None:
    described = ResponseTemplate(None, {})
    assert AnswerFormat.of("auto", "<tool_call>\n<invoke name=x>", {}, described).template is described
    assert AnswerFormat.of("auto", HERMES, {}, described).template is None


def test_channels_are_known_without_tools() -> None:
    found = AnswerFormat.of("auto", "<|start|>assistant<|channel|>final<|message|>", {"<|channel|>": 3, "<|end|>": 4})
    assert (found.tools, found.ids) == (None, {"<|channel|>": 3, "<|end|>": 4})
    assert found.channels is not None
    assert found.thought_behind("<|end|><|start|>assistant") == "possible"


def test_reasoning_and_tokens() -> None:
    answer_format = AnswerFormat.of("auto", HERMES + "<think></think>", {"<tool_call>": 5, "<think>": 7, "<s>": 1})
    assert answer_format.thought == ("<think>", "</think>")
    assert answer_format.ids == {"<tool_call>": 5, "<think>": 7}
    prompts = ["user: hi\n<think>\n", "<think></think>\n\n", "user: <think> hi"]
    assert [answer_format.thought_behind(prompt) for prompt in prompts] == ["open", "none", "possible"]
    assert AnswerFormat().thought_behind(prompts[0]) == "none"
