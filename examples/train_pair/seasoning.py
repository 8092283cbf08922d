"""Real, openly licensed text to season the world with.

Contract: `load(path)` reads records of {"text"} or {"messages"}, each with "src", and keeps the sources in `SHARES`;
`Seasoning.sample(rng)` draws one as a `Sample`; `passages` are short natural paragraphs to practise copying on.
"""

from __future__ import annotations

import json
import lzma
import re
from collections import defaultdict
from pathlib import Path
from random import Random

from .world import words as w
from .world.passages import sentences_of, usable
from .world.phrase import an, pick, sloppy
from .world.sample import Sample, say

SHARES: dict[str, float] = {
    "tinystories": 0.50,
    "fairytaleqa-qa": 0.11,
    "t0-quoref": 0.06,
    "t0-ropes": 0.05,
    "t0-quartz": 0.04,
    "topical-chat": 0.09,
    "chatterbot": 0.02,
    "storybooks": 0.05,
    "fairytaleqa-story": 0.05,
    "gutenberg-children": 0.03,
}
"""How often each source is drawn. What it holds too little of the model's task, or in another format, is left out."""

_HERO = re.compile(r"\b(?:named|called) ([A-Z][a-z]+)\b")
_KIND = re.compile(
    r"\b(?:little |small |big |young )?"
    r"(girl|boy|dog|cat|bird|bear|rabbit|man|woman|mouse|fish|frog|duck)\b"
)


_ASKS = (
    "Tell me a [short |little |]story{b}.",
    "[Please write|Write] a [short |simple |]story{b}.",
    "[Can you|Could you] tell [me |us ]a story{b}?",
    "Write a story[ for children|] {b}.",
)


class Seasoning:
    """The records by source, with their passages."""

    def __init__(self, records: dict[str, list[Sample]]) -> None:
        self.records = records
        self.sources = [s for s in SHARES if records.get(s)]
        self.weights = [SHARES[s] for s in self.sources]
        self.passages = _passages(records)

    def sample(self, rng: Random) -> Sample:
        """One record; a tiny story mostly as the answer to a request for it."""
        source = rng.choices(self.sources, self.weights)[0]
        found = self.records[source][int(rng.random() * len(self.records[source]))]
        if source == "tinystories" and rng.random() < 0.75:
            return _requested(rng, found)
        return found


def load(path: Path) -> Seasoning:
    """The seasoning in an .xz file of JSON lines."""
    records: dict[str, list[Sample]] = defaultdict(list)
    with lzma.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            record = json.loads(line)
            if record["src"] in SHARES:
                records[record["src"]].append(_sample(record))
    return Seasoning(records)


def _sample(record: dict[str, object]) -> Sample:
    kind = str(record["src"])
    messages = record.get("messages")
    if isinstance(messages, list):
        turns = [say(m["role"], m["content"].strip()) for m in messages]
        return Sample(kind, turns[:-1] if turns[-1]["role"] == "user" and len(turns) > 1 else turns)
    return Sample(kind, text=str(record["text"]).strip())


def _passages(records: dict[str, list[Sample]]) -> list[str]:
    """Paragraphs that are plain enough to be copied and edited."""
    found: list[str] = []
    for source in ("tinystories", "storybooks", "fairytaleqa-story", "gutenberg-children"):
        for sample in records.get(source, [])[:4000]:
            sentences = sentences_of(sample.text)
            parts = [" ".join(sentences[i : i + 6]) for i in range(0, len(sentences), 6)]
            found += [p for p in parts if usable(p)]
    return found


def _requested(rng: Random, story: Sample) -> Sample:
    """A story as the answer to a request that names what is in it."""
    hero, kind = _HERO.search(story.text), _KIND.search(story.text)
    about = ""
    if kind:
        about = f" about {an(kind[1])}" + (f" [named|called] {hero[1]}" if hero else "")
    things = [t for t in w.THINGS if f" {t} " in story.text]
    if things and rng.random() < 0.5:
        about += f"[ and|, with] {an(rng.choice(things))}"
    request = pick(rng, *_ASKS)
    names = tuple(x for x in (hero[1] if hero else "", "story") if x)
    text = sloppy(rng, " ".join(pick(rng, request.replace("{b}", about)).split()).replace(" .", "."), names)
    return Sample("tinystories", [say("user", text), say("assistant", story.text)])
