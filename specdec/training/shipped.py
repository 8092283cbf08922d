"""Prompts that come with us, for a training without the user's own: made from the patterns in `shipped.json`.

All of them were written for this project, and have its licence.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from random import Random
from typing import Any

from specdec.bench.prompts import BenchPrompt
from specdec.types import Message

_SYSTEM_SHARE = 0.2
_BRACED = re.compile(r"\{(\w+)\}")


def prompts(seed: int) -> Iterator[BenchPrompt]:
    """For ever; kinds take turns."""
    known: dict[str, Any] = json.loads(files("specdec.training").joinpath("shipped.json").read_text("utf-8"))
    rng = Random(seed)
    while True:
        for category, patterns in known["patterns"].items():
            text = _filled(rng, rng.choice(patterns), known["words"])
            own = Random(text)  # or the same words would be learnt behind one and held out behind another
            system = [Message("system", own.choice(known["systems"]))] if own.random() < _SYSTEM_SHARE else []
            yield BenchPrompt(category, (*system, Message("user", text)))


def _filled(rng: Random, pattern: str, words: Mapping[str, Sequence[str]]) -> str:
    """With a word in place of each pair of braces, and of those in that word; {n} is a number."""

    def word(found: re.Match[str]) -> str:
        name = found[1]
        return str(rng.randint(2, 40)) if name == "n" else _filled(rng, rng.choice(words[name]), words)

    return _BRACED.sub(word, pattern)
