"""Checkpoints of DeepSeek V3.2 and V4 bring no chat template: ours writes their marks, as their encoders do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

import specdec
from specdec.text import deepseek
from specdec.text.tokenizer import Tokenizer
from specdec.text.tools.formats import AnswerFormat
from specdec.types import Message, Reasoning, ToolCall
from tests.decoding.toy import EOS, byte_tokenizer
from tests.text.tools.written import dsml

BLOCKS = {"deepseek_v32": "function_calls", "deepseek_v4": "tool_calls"}
BOS, USER, ASSISTANT, END = "<｜begin▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>", "<｜end▁of▁sentence｜>"
PARAMETERS = {
    "type": "object",
    "properties": {"a": {"type": "integer", "minimum": 0, "maximum": 9}, "b": {"enum": ["x", "y"]}},
}
ADD = {"name": "add", "description": "é", "parameters": {**PARAMETERS, "required": ["a", "b"]}}
TOOLS = [{"type": "function", "function": ADD}]
CALLED: list[tuple[str, dict[str, Any]]] = [("add", {"a": [1], "b": 'x"\n'}), ("add", {})]
CALLS = tuple(ToolCall(f"c{i}", name, json.dumps(arguments)) for i, (name, arguments) in enumerate(CALLED))
RESULTS = [Message("tool", "one", tool_call_id="c0"), Message("tool", "two", tool_call_id="c1")]
FIRST = [Message("system", "Be brief."), Message("user", "Hi"), Message("assistant", "Yes.", reasoning="Hm")]
CHAT = [*FIRST, Message("user", "Add."), Message("assistant", "So.", tool_calls=CALLS, reasoning="Oh"), *RESULTS]


@pytest.fixture(params=BLOCKS)
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A type of models, of which there is a folder without weights."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": request.param}))
    byte_tokenizer().save_pretrained(tmp_path)
    return str(request.param)


def _written(kind: str, calls: str, *, thinks: bool) -> str:
    """What follows the system prompt and what is said of tools, which keep all thoughts in a prompt of V4."""
    mark = "<think>" if thinks else "</think>"
    old = "<think>Hm</think>" if thinks and kind == "deepseek_v4" else "</think>"
    new = "<think>Oh</think>" if thinks else "</think>"
    chat = f"{USER}Hi{ASSISTANT}{old}Yes.{END}{USER}Add.{ASSISTANT}{new}So.\n\n{calls}{END}"
    if kind == "deepseek_v4":
        return f"{chat}{USER}<tool_result>one</tool_result>\n\n<tool_result>two</tool_result>{ASSISTANT}{mark}"
    results = "<function_results>\n<result>one</result>\n<result>two</result>\n</function_results>"
    return f"{chat}\n\n{results}\n\n{mark}"


@pytest.mark.parametrize("thinks", [False, True])
def test_a_chat_with_tools(kind: str, thinks: bool, tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(tmp_path)
    text = tokenizer.chat(CHAT, TOOLS, {"thinking": thinks}).text
    start = f"{BOS}Be brief.\n\n## Tools\n\n"
    assert text.startswith(start) and text.endswith(_written(kind, dsml(BLOCKS[kind], CALLED), thinks=thinks))
    assert json.dumps(ADD, ensure_ascii=False) in text
    values = tokenizer.reasoning.values("on" if thinks else "off", thinks=True)
    assert tokenizer.chat(CHAT, TOOLS, values).text == text
    found = AnswerFormat.of("auto", tokenizer.template, {"｜DSML｜": 7})
    assert (found.name, found.ids, found.thinks) == (kind, {"｜DSML｜": 7}, True)


def test_a_chat_without_tools_keeps_no_old_thoughts(kind: str, tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(tmp_path)
    chat = [*FIRST, Message("system", "Be kind."), Message("user", "Hi")]
    expected = f"{BOS}Be brief.{USER}Hi{ASSISTANT}</think>Yes.{END}{USER}Be kind.\n\nHi{ASSISTANT}<think>"
    assert tokenizer.chat(chat, (), {"thinking": True}).text == expected
    assert tokenizer.chat(FIRST).text == f"{BOS}Be brief.{USER}Hi{ASSISTANT}</think>Yes.{END}{ASSISTANT}</think>"


def test_what_it_says_of_tools_is_the_encoders_own_which_is_never_run(kind: str, tmp_path: Path) -> None:
    (tmp_path / "encoding").mkdir()
    encoder = tmp_path / "encoding" / f"encoding_{kind}.py"
    encoder.write_text('ABOUT: str = """Use <{dsml_token}x> {{}}:\n{tool_schemas}\n!"""\nraise SystemExit\n')
    text = Tokenizer.load(tmp_path).chat([Message("user", "Hi")], TOOLS).text
    said = f"\n\nUse <｜DSML｜x> {{}}:\n{json.dumps(ADD, ensure_ascii=False)}\n!"
    assert text == f"{BOS}{said}{USER}Hi{ASSISTANT}</think>"
    for other in ("ABOUT = 1", 'ABOUT = "{tool_schemas} {unknown}"', "ABOUT ="):
        encoder.write_text(other)
        assert "\n\nThese are the tools:\n\n" in Tokenizer.load(tmp_path).chat([Message("user", "Hi")], TOOLS).text


@pytest.mark.parametrize("config", ['{"model_type": "llama"}', "{}", "[]", "{", None])
def test_others_have_none(config: str | None, tmp_path: Path) -> None:
    if config:
        (tmp_path / "config.json").write_text(config)
    assert deepseek.chat_template(tmp_path) is None


_SIZES = (
    "hidden_size=32 intermediate_size=64 moe_intermediate_size=16 num_hidden_layers=2 num_attention_heads=4 n_group=1 "
    "num_key_value_heads=4 n_routed_experts=4 num_experts_per_tok=2 q_lora_rank=16 qk_rope_head_dim=8 topk_group=1 "
    "index_n_heads=2 index_topk=64 max_position_embeddings=2048 kv_lora_rank=16 v_head_dim=8 index_head_dim=16 "
    "qk_nope_head_dim=8 o_groups=2 o_lora_rank=8"
)
_LAYERS = {
    "deepseek_v32": (["dense", "sparse"], ["indexed_attention", "indexed_attention"]),
    "deepseek_v4": (["moe", "moe"], ["heavily_compressed_attention", "compressed_sparse_attention"]),
}


def _model(kind: str, folder: Path) -> None:
    """A model of that architecture that has learnt nothing."""
    torch.manual_seed(0)
    sizes: dict[str, Any] = {name: int(value) for name, value in (size.split("=") for size in _SIZES.split())}
    mlps, attentions = _LAYERS[kind]
    sizes |= {"mlp_layer_types": mlps, "layer_types": attentions, "head_dim": 8 if kind == "deepseek_v32" else 16}
    config = AutoConfig.for_model(kind, vocab_size=EOS + 6, bos_token_id=None, eos_token_id=EOS, **sizes)
    AutoModelForCausalLM.from_config(config).float().save_pretrained(folder)
    backing = byte_tokenizer()
    backing.add_special_tokens({"additional_special_tokens": ["<think>", "</think>", "｜DSML｜", USER, ASSISTANT]})
    backing.save_pretrained(folder)


@pytest.mark.parametrize("kind", BLOCKS)
def test_a_model_calls_its_tool(kind: str, tmp_path: Path) -> None:
    _model(kind, tmp_path)
    with specdec.load(str(tmp_path)) as engine:
        assert (engine.info.tool_format, engine.info.reasoning_levels) == (kind, ("off", "on"))
        _called(engine, "off")
        _called(engine, "on", max_reasoning_tokens=5)


def _called(engine: specdec.Engine, reasoning: Reasoning, **more: Any) -> None:
    more |= {"tools": TOOLS, "tool_choice": "add", "seed": 1, "max_tokens": 400, "reasoning": reasoning}
    message = engine.generate([Message("user", "Hi")], **more).message
    assert [(call.name, json.loads(call.arguments).keys()) for call in message.tool_calls] == [("add", {"a", "b"})]
    assert bool(message.reasoning) == (reasoning == "on")
