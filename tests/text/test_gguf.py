"""Tokenizers that GGUF files describe give the tokens of the model's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from specdec.bundled import path as bundled
from specdec.errors import CheckpointCorrupt, UnsupportedModel
from specdec.gguf import GgufFile
from specdec.text import gguf
from specdec.text.tokenizer import Tokenizer
from specdec.types import Message

TEXTS = (
    "Hello world, it's 1234 o'clock.",
    "  two  spaces\n\n\tand a tab",
    "naïve “quotes” 你好 😀👍🏽 é",
    "def f(x):\n    return x**2  # they'll",
    "",
)
CONTROL, NORMAL, USER, BYTE, UNKNOWN = 3, 1, 4, 6, 2


def _file(**metadata: Any) -> GgufFile:
    named = {f"tokenizer.{'' if key == 'chat_template' else 'ggml.'}{key}": value for key, value in metadata.items()}
    return GgufFile(Path("model.gguf"), {"general.architecture": "llama", **named}, {})


def _bundled(**changes: Any) -> GgufFile:
    """The bundled target's tokenizer as a converter writes it."""
    folder = bundled("target")
    held = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    added = {token["id"]: token for token in held["added_tokens"]}
    names = {i: name for name, i in held["model"]["vocab"].items()} | {i: t["content"] for i, t in added.items()}
    config = json.loads((folder / "config.json").read_text("utf-8"))
    return _file(
        **{
            "model": "gpt2",
            "pre": "gpt-2",
            "tokens": [names[i] for i in range(len(names))],
            "token_type": [CONTROL if i in added else NORMAL for i in range(len(names))],
            "merges": [m if isinstance(m, str) else " ".join(m) for m in held["model"]["merges"]],
            "eos_token_id": config["eos_token_id"],
            "chat_template": (folder / "chat_template.jinja").read_text("utf-8"),
        }
        | changes
    )


def _tokenizer(file: GgufFile) -> Tokenizer:
    return Tokenizer(gguf.backing(file), gguf.eos_ids(file))


def test_byte_level_merges_are_the_models_own() -> None:
    own, read = Tokenizer.load(bundled("target")), _tokenizer(_bundled())
    assert read.names == own.names
    assert read.added == own.added
    special = next(iter(own.added))
    for text in (*TEXTS, f"a{special}b"):
        ids = own.encode(text, special=False)
        assert read.encode(text, special=False) == ids
        assert read.decode(ids) == own.decode(ids)
    chat = (Message("user", "Hi"),)
    assert read.chat(chat) == own.chat(chat)


def test_bos_is_added_where_the_file_says() -> None:
    plain = _tokenizer(_bundled(bos_token_id=3))
    begun = _tokenizer(_bundled(bos_token_id=3, add_bos_token=True))
    assert begun.encode("Hello") == [3, *plain.encode("Hello")]
    assert begun.encode("Hello", special=False) == plain.encode("Hello", special=False)


def test_all_that_ends_an_answer() -> None:
    names = ["<|im_end|>", "<|endoftext|>", "a", "<|eom_id|>", "</s>"]
    file = _file(tokens=names, token_type=[CONTROL, CONTROL, NORMAL, CONTROL, NORMAL], eos_token_id=1, eot_token_id=2)
    assert gguf.eos_ids(file) == (1, 2, 0, 3)
    harmony = ["<|return|>", "<|call|>", "<|end|>"]
    assert gguf.eos_ids(_file(tokens=harmony, token_type=[CONTROL] * 3)) == (0, 1)


def test_several_templates_go_by_name() -> None:
    file = _bundled()
    file.metadata["tokenizer.chat_template.tool_use"] = "tools"
    assert _tokenizer(file).template == "tools"


@pytest.mark.parametrize("name", sorted(gguf._CUTS))
def test_every_rule_cuts_without_loss(name: str) -> None:
    """Whatever the rule, a text's tokens join to it."""
    read = _tokenizer(_bundled(pre=name, add_bos_token=False))
    for text in TEXTS:
        assert read.decode(read.encode(text)) == text


def test_rules_differ_where_models_do() -> None:
    def cut(name: str, text: str) -> list[str]:
        built = gguf.backing(_bundled(pre=name)).backend_tokenizer
        return [text[start:end] for _, (start, end) in built.pre_tokenizer.pre_tokenize_str(text)]

    assert cut("gpt-2", "in 1234") == ["in", " 1234"]
    assert cut("smollm", "in 1234") == ["in", " ", "1", "2", "3", "4"]
    assert cut("qwen2", "in 1234") == ["in", " ", "1", "2", "3", "4"]
    assert cut("llama-bpe", "in 1234") == ["in", " ", "123", "4"]
    assert cut("llama-bpe", "I'LL go") == ["I", "'LL", " go"]
    assert cut("gpt-2", "I'LL go") == ["I", "'", "LL", " go"]
    assert cut("tekken", "camelCase") == ["camel", "Case"]
    assert cut("deepseek-v3", "你好abc") == ["你好", "abc"]


# ---- sentencepiece


def _pieces(**changes: Any) -> GgufFile:
    special = [("<unk>", UNKNOWN), ("<s>", CONTROL), ("</s>", CONTROL)]
    letters = [(f"<0x{byte:02X}>", BYTE) for byte in range(256)]
    words = ["▁", "a", "b", "c", "ab", "▁a", "bc", "abc", "▁abc"]
    tokens = [*special, *letters, *((word, NORMAL) for word in words)]
    better = {"bc": -1.0, "ab": -2.0, "▁a": -3.0, "abc": -4.0, "▁abc": -5.0}
    return _file(
        **{
            "model": "llama",
            "tokens": [token for token, _ in tokens],
            "token_type": [kind for _, kind in tokens],
            "scores": [better.get(token, -10.0) for token, _ in tokens],
            "bos_token_id": 1,
            "eos_token_id": 2,
            "unknown_token_id": 0,
        }
        | changes
    )


def test_sentencepiece_merges_by_score() -> None:
    read = _tokenizer(_pieces())
    names = [read.names[i] for i in read.encode("abc é ab</s>")]
    assert names == ["<s>", "▁abc", "▁", "<0xC3>", "<0xA9>", "▁", "ab", "</s>"]
    assert read.decode(read.encode("abc é ab", special=False)) == "abc é ab"
    assert [read.names[i] for i in read.encode("xab", special=False)] == ["▁", "<0x78>", "ab"]


def test_sentencepiece_without_a_leading_space() -> None:
    read = _tokenizer(_pieces(add_space_prefix=False, add_bos_token=False))
    assert [read.names[i] for i in read.encode("abc abc")] == ["abc", "▁abc"]
    assert read.decode(read.encode(" abc")) == " abc"


@pytest.mark.parametrize(
    ("file", "error", "said"),
    [
        (_file(model="gpt2"), CheckpointCorrupt, "holds no tokenizer"),
        (_file(model="bert", tokens=["a"]), UnsupportedModel, r"of the kind 'bert'; expected 'gpt2' or 'llama'"),
        (_file(model="gpt2", tokens=["a"], pre="new"), UnsupportedModel, r"cuts text as 'new' .*; expected one of "),
        (_file(model="llama", tokens=["a"], scores=[]), CheckpointCorrupt, "no score for each of its 1 tokens"),
    ],
)
def test_tokenizers_that_cannot_be_read(file: GgufFile, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        gguf.backing(file)
