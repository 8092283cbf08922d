"""How models are asked for what stands between two texts: by marks of their vocabulary around both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Part = Literal["prompt", "suffix"]


@dataclass(frozen=True, slots=True)
class FillForm:
    """A row of marks, each before the prompt, before the suffix, or before the answer."""

    marks: tuple[str, ...]
    order: tuple[Part, Part] = ("prompt", "suffix")
    ends: tuple[str, ...] = ()
    """What stands behind the answer, beside the checkpoint's own ends."""


_FORMS = (
    FillForm(
        ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
        ends=("<|endoftext|>", "<|fim_pad|>", "<|file_sep|>", "<|file_separator|>", "<|repo_name|>"),
    ),
    FillForm(("<fim_prefix>", "<fim_suffix>", "<fim_middle>"), ends=("<|endoftext|>", "<file_sep>", "<fim_pad>")),
    FillForm(("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>")),
    FillForm(("▁<PRE>", "▁<SUF>", "▁<MID>"), ends=("▁<EOT>",)),
    FillForm(("[SUFFIX]", "[PREFIX]"), ("suffix", "prompt")),
)
"""Of Qwen2.5-Coder (and Qwen3-Coder, CodeGemma), StarCoder (and Granite), DeepSeek-Coder, CodeLlama and Codestral."""


@dataclass(frozen=True, slots=True)
class FillMarks:
    """A form, its marks as token ids."""

    marks: tuple[int, ...]
    order: tuple[Part, Part]
    ends: frozenset[int]

    @classmethod
    def of(cls, vocabulary: Mapping[str, int]) -> FillMarks | None:
        """The form whose marks a vocabulary has; None where it has none's."""
        for form in _FORMS:
            if all(mark in vocabulary for mark in form.marks):
                ends = frozenset(vocabulary[end] for end in form.ends if end in vocabulary)
                return cls(tuple(vocabulary[mark] for mark in form.marks), form.order, ends)
        return None

    def around(self, parts: Mapping[Part, list[int]]) -> list[int]:
        """The tokens of a prompt and a suffix, with the marks before each and before the answer."""
        texts = (parts[part] for part in self.order)
        first, second, *last = self.marks
        return [first, *next(texts), second, *next(texts), *last]
