"""The mix: which kinds come how often, alone or one after another in a chat.

Contract: `stream(seed, pool)` yields samples for ever, the same for the same seed and pool.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

from .edits import edit
from .lists import arithmetic, lists
from .phrase import pick
from .reading import about_record, about_several, about_story, find_sentence, house_rules, which_one
from .sample import Message, Sample, Task, say
from .stories import ask_story, continue_story, tell
from .structured import structured
from .talk import about_self, draw_letter, plain_fact, poem, small_talk, summary, unknown
from .tooltalk import tool_chat

WEIGHTS: tuple[tuple[str, float], ...] = (
    ("story", 17.0), ("continue", 2.0), ("record", 10.0), ("several", 6.0), ("which", 3.0), ("about_story", 10.0), ("rules", 4.0),
    ("find", 3.0), ("edit", 20.0), ("list", 9.0), ("sums", 5.0), ("talk", 4.0), ("self", 4.0), ("fact", 1.5), ("unknown", 2.5),
    ("summary", 7.0), ("letter", 2.5), ("poem", 0.7), ("json", 11.0), ("tools", 22.0), ("plain", 3.0),
)  # fmt: skip
_NAMES = [n for n, _ in WEIGHTS]
_SHARES = [x for _, x in WEIGHTS]
SYSTEMS = (
    "You are a helpful assistant.",
    "You are a helpful, honest assistant.",
    "You are a friendly assistant. Keep your answers short.",
    "Answer in simple English.",
    "You are the bundled model of SpecDec.",
    "You help people with text.",
    "Be brief and friendly.",
    "You are a careful assistant. If a text does not hold the answer, say so.",
)


def task(rng: Random, kind: str, pool: Sequence[str]) -> Task:
    """One task of a kind."""
    if kind == "edit":
        return edit(rng, pool)
    makers = {
        "story": ask_story, "continue": continue_story, "record": about_record, "several": about_several, "which": which_one,
        "about_story": about_story, "rules": house_rules, "find": find_sentence, "list": lists, "sums": arithmetic,
        "talk": small_talk, "self": about_self, "fact": plain_fact, "unknown": unknown, "summary": summary, "letter": draw_letter,
        "poem": poem, "json": structured,
    }  # fmt: skip
    return makers[kind](rng)


def sample(rng: Random, pool: Sequence[str]) -> Sample:
    """One training record."""
    kind = rng.choices(_NAMES, _SHARES)[0]
    if kind == "tools":
        return tool_chat(rng)
    if kind == "plain":
        return Sample("plain", text=tell(rng).text)
    first = task(rng, kind, pool)
    tasks = [first]
    if first.system is None and rng.random() < 0.22:
        tasks = _chat(rng, first, pool)
    system = first.system or (rng.choice(SYSTEMS) if rng.random() < 0.2 else None)
    head: list[Message] = [say("system", system)] if system else []
    turns = [m for t in tasks for m in t.turns()]
    return Sample(first.kind if len(tasks) == 1 else "chat", [*head, *turns], quotes=first.quotes)


def _chat(rng: Random, first: Task, pool: Sequence[str]) -> list[Task]:
    """Two to four tasks one after another, with small talk between them."""
    kinds = ("story", "record", "about_story", "edit", "list", "sums", "talk", "self", "summary", "json", "talk", "recall")
    tasks = [first] if rng.random() < 0.5 else [small_talk(rng), first]
    for _ in range(rng.randrange(1, 4) if rng.random() < 0.93 else rng.randrange(4, 12)):
        kind = rng.choice(kinds)
        tasks.append(_recall(rng, tasks) if kind == "recall" else task(rng, kind, pool))
    return [t for i, t in enumerate(tasks) if t.system is None or i == 0]


def _recall(rng: Random, tasks: list[Task]) -> Task:
    """A question about the chat itself."""
    last = tasks[-1].follow[-1] if tasks[-1].follow else (tasks[-1].user, tasks[-1].answer)
    if rng.random() < 0.5:
        ask = pick(rng, "[Say|Repeat] that again[, please|].", "Can you repeat that?", "What did you [just|] say?", "Once more, please.")
        return Task("chat", " ".join(ask.split()), last[1])
    return small_talk(rng)


WINDOW = 4096
"""Within this many samples, none comes twice."""


def stream(seed: int, pool: Sequence[str] = ()) -> Iterator[Sample]:
    """Samples for ever."""
    rng = Random(seed)
    while True:
        seen: set[str] = set()
        while len(seen) < WINDOW:
            new = sample(rng, pool)
            key = new.text + "\n".join(m["content"] or "" for m in new.messages) + (new.tools[0]["function"]["name"] if new.tools else "")
            if key not in seen:
                seen.add(key)
                yield new
