"""What stands between two texts is asked for by the tokenizer's own marks."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from tokenizers import AddedToken

from specdec.errors import InvalidRequest
from specdec.text.tokenizer import Tokenizer
from tests.text.conftest import byte_level, llama_form

FORMS = {
    "qwen": "<|fim_prefix|>A<|fim_suffix|>B<|fim_middle|>",
    "starcoder": "<fim_prefix>A<fim_suffix>B<fim_middle>",
    "deepseek": "<｜fim▁begin｜>A<｜fim▁hole｜>B<｜fim▁end｜>",
    "codellama": "▁<PRE>A▁<SUF>B▁<MID>",
    "codestral": "[SUFFIX]B[PREFIX]A",
}


def _with(form: str, tokenizer: Tokenizer) -> Tokenizer:
    marks = [mark for mark in re.split(r"(?<=[>｜\]])[AB]", form) if mark]
    tokens = [AddedToken(mark, special=True, normalized=False) for mark in (*marks, "▁<EOT>")]
    tokenizer._backing.add_tokens(tokens, special_tokens=True)
    return Tokenizer(tokenizer._backing)


@pytest.mark.parametrize(("make", "space"), [(byte_level, ""), (llama_form, " ")])
@pytest.mark.parametrize("name", FORMS)
def test_marks_stand_where_the_model_was_taught(name: str, make: Callable[[], Tokenizer], space: str) -> None:
    tokenizer = _with(FORMS[name], make())
    filled = tokenizer.fill("def", "return")
    expected = re.sub(r"(?<=[>｜\]])[AB]", lambda found: f"{space}def" if found[0] == "A" else "return", FORMS[name])
    assert "".join(map(tokenizer.token_text, filled)) == expected
    assert tokenizer.fill_marks and bool(tokenizer.fill_marks.ends) == (name == "codellama")


def test_a_suffix_goes_on_as_it_is() -> None:
    """Sentencepiece puts a space before a text's first word, which is none in the middle of one; bos stays first."""
    tokenizer = _with(FORMS["codellama"], llama_form())
    filled = tokenizer.fill("def add", "(a, b):\n  😀")
    behind = filled[filled.index(tokenizer.added["▁<SUF>"]) + 1 : -1]
    assert "".join(tokenizer.token_text(token) for token in behind[:2]).startswith("(a")
    assert tokenizer.decode(behind).endswith("(a, b):\n  😀")
    assert filled[: len(tokenizer.encode(""))] == tokenizer.encode("")


def test_names_of_marks_in_the_texts_are_text() -> None:
    tokenizer = _with(FORMS["qwen"], byte_level())
    assert tokenizer.fill_marks
    filled = tokenizer.fill("a <|fim_suffix|> b", "c <|fim_middle|>")
    assert [token for token in filled if token in tokenizer.added_ids] == list(tokenizer.fill_marks.marks)


def test_without_marks_it_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="suffix is 'B'; expected none: this checkpoint's tokenizer has no marks"):
        byte_level().fill("A", "B")
