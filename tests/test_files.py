"""What a file is that is not what its name says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from specdec.files import mistaken

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 942\n"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("model.safetensors", POINTER.encode(), "a git-lfs pointer, .*; fetch it with: git lfs pull"),
        ("config.json", POINTER.encode(), "a git-lfs pointer"),
        ("model.safetensors", b"\n <!DOCTYPE HTML><html>", "an HTML page"),
        ("config.json", b"\xef\xbb\xbf<html lang=en>", "an HTML page"),
        ("config.json", b'<?xml version="1.0"?><Error>', "an XML page"),
        ("model.safetensors", b"Entry not found", "text that begins 'Entry not found'"),
        ("model.safetensors", b'{"error": "no"}\n', "text that begins"),
        ("model.safetensors", b"GGUF\x03\x00", "a GGUF file"),
        ("model.safetensors", b"PK\x03\x04rest", "a zip archive"),
        ("tokenizer.json", b"\x1f\x8b\x08", "packed with gzip"),
        ("config.json", b"", "blank"),
        ("model.safetensors", b"\0" * 600, "blank"),
    ],
)
def test_it_is_named(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    found = mistaken(tmp_path / name)
    assert found is not None
    assert re.match(said, found)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("model.safetensors", b'\x40\0\0\0\0\0\0\0{"a":{"dtype":"F32"}}'),
        ("config.json", b'{"model_type": "llama"}'),
        ("tokenizer.model", b"\n\x0e\n\x05<unk>\x15\0\0\0\0"),
        ("vocab.txt", b"[PAD]\n[UNK]\n"),
    ],
)
def test_nothing_speaks_against_it(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert mistaken(tmp_path / name) is None


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert mistaken(tmp_path / "config.json") is None
