"""Small tokenizers of every kind that matters, trained here: nothing is downloaded."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, trainers
from tokenizers import Tokenizer as Backend
from transformers import PreTrainedTokenizerFast

from specdec.text.tokenizer import Tokenizer

CORPUS = [
    "The quick brown fox jumps over the lazy dog. It is not over, is it? Don't say so!",
    "def add(a, b):\n    return a + b\n\nprint(add(1, 2))  # three",
    "Größe, naïve café, übermäßig; 日本語のテキスト и русский текст. 😀 👍🏽 👩‍👩‍👧",
    "stop STOP stopping; User: hello Assistant: hi there",
] * 4  # fmt: skip
SPECIAL = ["<s>", "</s>", "<unk>", "<|end|>"]


def _wrap(backend: Backend) -> Tokenizer:
    wrapped = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>")
    return Tokenizer(wrapped)


def byte_level() -> Tokenizer:
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=420, initial_alphabet=alphabet, special_tokens=SPECIAL, show_progress=False
    )
    backend.train_from_iterator(CORPUS, trainer)
    backend.add_tokens([AddedToken("<tool_call>", special=False), AddedToken("日 x", special=False)])
    return _wrap(backend)


def _metaspace(*, scheme: str, vocab_size: int = 300) -> Backend:
    backend = Backend(models.BPE(unk_token="<unk>", fuse_unk=True))
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=SPECIAL, show_progress=False)
    # Little of the corpus, so that emoji and kanji fall back to bytes.
    backend.train_from_iterator(CORPUS[:2], trainer)
    return backend


def _with_bytes(backend: Backend, decoder: decoders.Decoder) -> Tokenizer:
    state = json.loads(backend.to_str())
    vocab = state["model"]["vocab"]
    for byte in range(256):
        vocab[f"<0x{byte:02X}>"] = len(vocab)
    vocab["▁▁"] = len(vocab)
    state["model"]["byte_fallback"] = True
    backend = Backend.from_str(json.dumps(state))
    backend.decoder = decoder
    return _wrap(backend)


def llama_form() -> Tokenizer:
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    return _with_bytes(_metaspace(scheme="first"), decoders.Sequence(steps))


def gemma_form() -> Tokenizer:
    steps = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    backend = _metaspace(scheme="never")
    backend.normalizer = normalizers.Replace(" ", "▁")
    return _with_bytes(backend, decoders.Sequence(steps))


def metaspace() -> Tokenizer:
    backend = _metaspace(scheme="always")
    backend.decoder = decoders.Metaspace(prepend_scheme="always")
    return _wrap(backend)


def wordpiece() -> Tokenizer:
    backend = Backend(models.WordPiece(unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=300, special_tokens=SPECIAL, show_progress=False)
    backend.train_from_iterator(CORPUS, trainer)
    return _wrap(backend)


def words() -> Tokenizer:
    backend = Backend(models.WordLevel(unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.train_from_iterator(CORPUS, trainers.WordLevelTrainer(special_tokens=SPECIAL, show_progress=False))
    return _wrap(backend)


KINDS: dict[str, Callable[[], Tokenizer]] = {
    "byte_level": byte_level,
    "llama_form": llama_form,
    "gemma_form": gemma_form,
    "metaspace": metaspace,
    "wordpiece": wordpiece,
    "words": words,
}


@pytest.fixture(scope="session")
def tokenizers() -> dict[str, Tokenizer]:
    return {kind: make() for kind, make in KINDS.items()}


@pytest.fixture(params=list(KINDS), scope="session")
def tokenizer(request: pytest.FixtureRequest, tokenizers: dict[str, Tokenizer]) -> Tokenizer:
    """Each kind in turn."""
    return tokenizers[request.param]


@pytest.fixture(params=["byte_level", "llama_form", "gemma_form"], scope="session")
def byte_tokenizer(request: pytest.FixtureRequest, tokenizers: dict[str, Tokenizer]) -> Tokenizer:
    """The kinds that can write any text."""
    return tokenizers[request.param]


@pytest.fixture(params=["byte_level", "metaspace", "wordpiece", "words"], scope="session")
def exact_tokenizer(request: pytest.FixtureRequest, tokenizers: dict[str, Tokenizer]) -> Tokenizer:
    """The kinds whose streamed text equals the library's for any tokens, invalid bytes included."""
    return tokenizers[request.param]
