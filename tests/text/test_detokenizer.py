from __future__ import annotations

import random

import pytest

from specdec.text.detokenizer import Detokenizer
from specdec.text.tokenizer import Tokenizer

TEXTS = [
    "Hello world",
    " leading space",
    "  two leading spaces",
    "tabs\tand\n\nnewlines \n",
    "The quick brown fox. Don't!",
    "日本語のテキスト",
    "😀👍🏽👩‍👩‍👧 and 🇩🇪",
    "Größe naïve café",
    "a\u0301 combining, \u200f marks, \U0010ffff",
]


def stream(tokenizer: Tokenizer, ids: list[int]) -> list[str]:
    detokenizer = Detokenizer.of(tokenizer)
    return [*map(detokenizer.push, ids), detokenizer.flush()]


def library(tokenizer: Tokenizer, ids: list[int]) -> str:
    """The text of the `tokenizers` library, all at once."""
    return str(tokenizer._fast.decode(ids, skip_special_tokens=True))


@pytest.mark.parametrize("text", TEXTS)
def test_streams_what_the_library_decodes(tokenizer: Tokenizer, text: str) -> None:
    ids = tokenizer.encode_plain(text)
    assert "".join(stream(tokenizer, ids)) == library(tokenizer, ids) == tokenizer.decode(ids)


@pytest.mark.parametrize("text", TEXTS)
def test_text_survives_a_round_trip(byte_tokenizer: Tokenizer, text: str) -> None:
    if byte_tokenizer.pieces is not None and byte_tokenizer.pieces.leading:
        text = f"x{text}"  # such a tokenizer takes a space off whatever starts with one
    assert byte_tokenizer.decode(byte_tokenizer.encode_plain(text)) == text


def test_any_tokens_stream_what_the_library_decodes(exact_tokenizer: Tokenizer) -> None:
    for seed in range(200):
        rng = random.Random(seed)
        ids = [rng.randrange(exact_tokenizer.vocab_size + 3) for _ in range(rng.randrange(60))]
        known = [i for i in ids if i < exact_tokenizer.vocab_size]
        assert "".join(stream(exact_tokenizer, ids)) == library(exact_tokenizer, known), (seed, ids)


@pytest.mark.parametrize("kind", ["llama_form", "gemma_form"])
def test_byte_fallback_equals_the_library_where_bytes_are_whole(tokenizers: dict[str, Tokenizer], kind: str) -> None:
    tokenizer = tokenizers[kind]
    plain = [i for i, name in tokenizer.names.items() if not name.startswith("<0x")]
    for seed in range(200):
        rng = random.Random(seed)
        ids: list[int] = []
        for _ in range(rng.randrange(20)):
            letters = "".join(rng.choice("é日😀\U0010ffffa") for _ in range(rng.randrange(4)))
            spelled = [tokenizer._fast.token_to_id(f"<0x{b:02X}>") for b in letters.encode()]
            ids += [*spelled, rng.choice(plain)]
        assert "".join(stream(tokenizer, ids)) == library(tokenizer, ids), (seed, ids)


def test_byte_fallback_writes_broken_bytes_as_the_library(tokenizers: dict[str, Tokenizer]) -> None:
    tokenizer = tokenizers["llama_form"]
    broken = [tokenizer._fast.token_to_id(t) for t in ("<0xE2>", "<0x82>")]
    ids = [*tokenizer.encode_plain("The"), *broken, *tokenizer.encode_plain("dog"), *broken]
    assert "".join(stream(tokenizer, ids)) == library(tokenizer, ids)


def test_byte_fallback_keeps_whole_characters_before_broken_bytes(tokenizers: dict[str, Tokenizer]) -> None:
    tokenizer = tokenizers["llama_form"]
    ids = [tokenizer._fast.token_to_id(f"<0x{b:02X}>") for b in "😀".encode() + b"\xf0\x9f"]
    assert "".join(stream(tokenizer, ids)) == "😀\ufffd\ufffd"


def test_a_character_comes_out_whole(byte_tokenizer: Tokenizer) -> None:
    ids = byte_tokenizer.encode_plain("x🜁y")
    assert len(ids) > 3
    assert all("\ufffd" not in text for text in stream(byte_tokenizer, ids))
    assert "🜁" in stream(byte_tokenizer, ids)


def test_pending_says_whether_text_is_missing(byte_tokenizer: Tokenizer) -> None:
    detokenizer = Detokenizer.of(byte_tokenizer)
    for token in byte_tokenizer.encode_plain("a🜁b"):
        assert (detokenizer.push(token) == "") == detokenizer.pending


@pytest.mark.parametrize("kind", ["byte_level", "llama_form"])
def test_invalid_bytes_never_stall(tokenizers: dict[str, Tokenizer], kind: str) -> None:
    tokenizer = tokenizers[kind]
    # The byte 0xF0 starts a character of four bytes, over and over.
    name = "ð" if kind == "byte_level" else "<0xF0>"
    ids = [tokenizer._fast.token_to_id(name)] * 50
    texts = stream(tokenizer, ids)
    assert "".join(texts) == "\ufffd" * 50
    assert sum(map(len, texts[:-1])) >= 46


def test_a_window_never_waits_for_long(tokenizers: dict[str, Tokenizer]) -> None:
    """A tokenizer without a table, whose tokens all decode to U+FFFD."""

    class Broken:
        pieces = None

        def is_silent(self, token: int) -> bool:
            return False

        def decode_window(self, ids: object) -> str:
            assert isinstance(ids, list)
            assert len(ids) <= 20
            return "\ufffd" * len(ids)

    detokenizer = Detokenizer.of(Broken())
    texts = [detokenizer.push(0) for _ in range(100)] + [detokenizer.flush()]
    assert "".join(texts) == "\ufffd" * 100
    assert sum(map(len, texts[:-1])) > 90


def test_special_and_unknown_tokens_are_silent(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode_plain("the dog")
    noisy = [0, *ids[:1], 1, 10**6, 3, *ids[1:], 1]
    assert tokenizer.decode(noisy) == tokenizer.decode(ids)
