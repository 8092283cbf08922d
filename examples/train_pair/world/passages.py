"""Paragraphs to work on: told by the world, or handed in from real text.

Contract: `paragraph(rng, pool)` gives a list of sentences; `pool` holds natural passages (may be empty), so that copying
is learned over words which the world itself does not know.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from random import Random

from .reading import with_filler
from .sheets import prose, sheet
from .stories import tell

_END = re.compile(r'(?<=[.!?])["”]?\s+(?=["“A-Z])')


def sentences_of(text: str) -> list[str]:
    """The text cut after its sentences; joining with single spaces gives the text back where it had those."""
    return [s for s in _END.split(" ".join(text.split())) if s]


def usable(text: str) -> bool:
    """Whether a natural passage is plain enough to copy: whole sentences, plain characters, no markup."""
    return 80 <= len(text) <= 900 and text.isascii() and text[-1] in ".!?" and not re.search(r"[<>{}\[\]|_*#\\]", text)


def paragraph(rng: Random, pool: Sequence[str], most: int = 8) -> list[str]:
    """Two to `most` sentences that stand together."""
    count = rng.randrange(2, most + 1)
    if pool and rng.random() < 0.5:
        found = sentences_of(pool[int(rng.random() * len(pool))])
        start = rng.randrange(max(1, len(found) - count + 1))
        return found[start : start + count]
    if rng.random() < 0.6:
        story = tell(rng)
        whole = sentences_of(" ".join(story.sentences))
        start = rng.randrange(max(1, len(whole) - count))
        return whole[start : start + count]
    record = list(prose(rng, sheet(rng), alone=True)[1])
    return sentences_of(with_filler(rng, record) if rng.random() < 0.4 else " ".join(record))[:count]
