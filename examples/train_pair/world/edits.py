"""Edits of a given text: the answer is the text with exactly that change.

Contract: every maker takes (rng, pool) and returns a `Task` whose answer was computed from the text in its request.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from random import Random

from . import words as w
from .passages import paragraph
from .phrase import cap, expand, pick, sloppy, typo
from .sample import Task
from .sheets import prose, sheet

_NAME = re.compile(r"(?<=[a-z,] )[A-Z][a-z]+\b")
_WORD = re.compile(r"\b[a-z]{4,}\b")


def asked(rng: Random, order: str, text: str, keep: tuple[str, ...] = ("",)) -> str:
    """An order and the text it is about, put together in one of many ways."""
    order = sloppy(rng, order, keep)
    fence = rng.choice(("{t}", "{t}", "{t}", '"{t}"', "Text: {t}", "Text:\n{t}", '"""\n{t}\n"""', "<text>\n{t}\n</text>"))
    body = fence.replace("{t}", text)
    if rng.random() < 0.15:
        return f"{body}\n\n{order}"
    return f"{order.rstrip('.')}:{rng.choice((' ', chr(10), chr(10) * 2))}{body}" if rng.random() < 0.6 else f"{order}\n\n{body}"


def swapped(text: str, old: str, new: str) -> str:
    """The text with every whole word `old` replaced."""
    return re.sub(rf"\b{re.escape(old)}\b", lambda _: new, text)


def replace_word(rng: Random, pool: Sequence[str]) -> Task:
    """One name or word replaced by another, everything else kept."""
    text = " ".join(paragraph(rng, pool))
    names, plain = _NAME.findall(text), _WORD.findall(text)
    if not names and not plain:
        return replace_word(rng, pool)
    if names and (rng.random() < 0.65 or not plain):
        old, new = rng.choice(names), w.name(rng)
    else:
        old, new = rng.choice(plain), rng.choice((*w.THINGS[:20], *w.COLOURS, *w.ADJECTIVES, w.invented(rng), w.invented(rng)))
    order = pick(
        rng,
        "[Please replace|Replace|Change] [{o}|the word {o}|every {o}|'{o}'] [with|by|to] {n}[ in this text| in the text below||, and repeat the whole text]",
        "[Rewrite|Repeat|Write] [this|the text|the paragraph|this paragraph] [again |]with {n} instead of {o}",
        "Change {o} to {n}[ in this paragraph|. Keep the rest the same|].",
        "In this text, [replace {o} with {n}|change {o} to {n}|write {n} instead of {o}]",
        'Use "{n}" instead of "{o}" in this text',
        o="{o}",
        n="{n}",
    ).replace("{o}", old).replace("{n}", new)
    return Task("edit", asked(rng, order, text, (old, new)), swapped(text, old, new))


def replace_two(rng: Random, pool: Sequence[str]) -> Task:
    """Two names or words replaced at once."""
    text = " ".join(paragraph(rng, pool))
    words = sorted(set(_NAME.findall(text) + _WORD.findall(text)))
    if len(words) < 2:
        return replace_word(rng, pool)
    old, old2 = rng.sample(words, 2)
    new = w.name(rng) if old[0].isupper() else w.invented(rng)
    new2 = w.name(rng) if old2[0].isupper() else rng.choice(w.THINGS)
    if old2 in new or swapped(new, old2, "") != new:
        return replace_word(rng, pool)
    order = f"Replace {old} with {new} and {old2} with {new2}" + expand(rng, "[| in this text| below]")
    return Task("edit", asked(rng, order, text, (old, new)), swapped(swapped(text, old, new), old2, new2))


def repeat(rng: Random, pool: Sequence[str]) -> Task:
    """The text word for word."""
    text = " ".join(paragraph(rng, pool))
    order = pick(rng, "[Repeat|Copy|Say] [this|this text|the following|the text below][ exactly| word for word| back to me|]", "Write this again[| without any change]", "Repeat after me")
    return Task("edit", asked(rng, order, text), text, quotes=(text,))


def one_sentence(rng: Random, pool: Sequence[str]) -> Task:
    """The first, last or n-th sentence."""
    parts = paragraph(rng, pool)
    at = rng.randrange(len(parts))
    which = {0: "first", 1: "second", 2: "third", 3: "fourth"}.get(at, "last")
    at = len(parts) - 1 if which == "last" else at
    order = pick(rng, "[Copy|Give me|Write|Repeat|Show me] [only |]the {n} sentence[ of this text|]", "What is the {n} sentence[ of this text| here]?", n=which)
    return Task("edit", asked(rng, order, " ".join(parts)), parts[at], quotes=(parts[at],))


def drop_sentence(rng: Random, pool: Sequence[str]) -> Task:
    """Everything but the first or last sentence."""
    parts = paragraph(rng, pool)
    if len(parts) < 2:
        return repeat(rng, pool)
    first = rng.random() < 0.5
    order = pick(rng, "[Remove|Delete|Leave out|Cut] the {n} sentence[ of this text|]", "[Repeat|Write] this without the {n} sentence", n="first" if first else "last")
    return Task("edit", asked(rng, order, " ".join(parts)), " ".join(parts[1:] if first else parts[:-1]))


def add_sentence(rng: Random, pool: Sequence[str]) -> Task:
    """A given sentence put at the start or the end."""
    parts = paragraph(rng, pool, 5)
    record = sheet(rng)
    new = rng.choice(prose(rng, record)[1])
    end = rng.random() < 0.6
    order = pick(rng, 'Add the sentence "{n}" [at|to] the {w} of this text', '[Put|Write] "{n}" at the {w} of this text', n="{n}", w="end" if end else "[start|beginning]")
    order = expand(rng, order).replace("{n}", new) if "|" not in new else order
    answer = [*parts, new] if end else [new, *parts]
    return Task("edit", asked(rng, order, " ".join(parts), (new,)), " ".join(answer), quotes=(new,))


def letters(rng: Random, pool: Sequence[str]) -> Task:
    """A short text in capitals, in small letters, or with capital first letters."""
    text = paragraph(rng, pool, 2)[0] if rng.random() < 0.7 else " ".join(rng.sample(w.THINGS, 3))
    up = rng.random() < 0.5
    order = pick(rng, *(("[Write|Put] this in [capital letters|capitals|upper case|uppercase]", "Make this uppercase") if up else ("[Write|Put] this in [small letters|lower case|lowercase]", "Make this lowercase")))
    return Task("edit", asked(rng, order, text), text.upper() if up else text.lower())


def spelling(rng: Random, pool: Sequence[str]) -> Task:
    """A text with spelling mistakes, put right."""
    text = " ".join(paragraph(rng, pool, 5))
    words = [m.span() for m in _WORD.finditer(text)]
    bad = text
    for start, stop in sorted(rng.sample(words, min(len(words), rng.randrange(1, 5))), reverse=True):
        bad = bad[:start] + typo(rng, bad[start:stop]) + bad[stop:]
    order = pick(rng, "[Fix|Correct] the [spelling|spelling mistakes|typos|errors][ in this text| below|]", "[Please |]correct this[ text|]", "Write this without spelling mistakes", "Can you fix the typos[ here|]?")
    return Task("edit", asked(rng, order, bad), text)


def bare(rng: Random, pool: Sequence[str]) -> Task:
    """A text without capitals and full stops, put right."""
    parts = [p for p in paragraph(rng, pool, 4) if p.endswith(".") and not set(p[:-1]) & set('.,!?"')]
    if not parts:
        return spelling(rng, pool)
    bad = " ".join(p[:-1].lower() for p in parts) if len(parts) == 1 else ". ".join(p[:-1].lower() for p in parts)
    order = pick(rng, "[Add|Fix|Put in] the [capital letters|capitals|capitals and full stops]", "Correct the [punctuation|punctuation and capitals|capital letters]")
    return Task("edit", asked(rng, order, bad), " ".join(parts))


PAST = (
    ("walks", "walked"), ("goes", "went"), ("runs", "ran"), ("sees", "saw"), ("finds", "found"), ("takes", "took"), ("gives", "gave"),
    ("eats", "ate"), ("buys", "bought"), ("brings", "brought"), ("makes", "made"), ("writes", "wrote"), ("reads", "read"),
    ("carries", "carried"), ("opens", "opened"), ("likes", "liked"), ("has", "had"), ("holds", "held"), ("sells", "sold"),
    ("cleans", "cleaned"), ("paints", "painted"), ("loses", "lost"), ("keeps", "kept"), ("hides", "hid"), ("builds", "built"),
    ("throws", "threw"), ("draws", "drew"), ("catches", "caught"), ("forgets", "forgot"), ("breaks", "broke"), ("needs", "needed"),
)  # fmt: skip
_MOVES = {"walks", "goes", "runs"}


def past_tense(rng: Random, pool: Sequence[str]) -> Task:
    """Simple sentences moved to the past (or back to the present)."""
    now, then = [], []
    who, place = w.person(rng), rng.choice(w.PLACES)
    for index in range(rng.randrange(1, 5)):
        present, past = rng.choice(PAST)
        rest = f"to {rng.choice(w.PLACES)}" if present in _MOVES else f"the {rng.choice(w.ADJECTIVES)} {rng.choice(w.THINGS)}"
        tail = rng.choice(("", "", f" near {place}", f" with {w.name(rng)}"))
        subject = who.name if index == 0 or rng.random() < 0.4 else cap(who.he)
        now.append(f"{subject} {present} {rest}{tail}.")
        then.append(f"{subject} {past} {rest}{tail}.")
    if rng.random() < 0.2:
        order, now, then = "[Rewrite|Put] this in the present tense", then, now
    else:
        order = "[[Rewrite|Write|Put|Change] this [in|into] [the |]past tense|Change the verbs to the past tense]"
    return Task("edit", asked(rng, expand(rng, order), " ".join(now)), " ".join(then))


def names_in(rng: Random, pool: Sequence[str]) -> Task:
    """All the people a text names, in order."""
    people = [w.name(rng) for _ in range(rng.randrange(2, 6))]
    people = list(dict.fromkeys(people))
    parts = [pick(rng, "{n} [saw|found|bought|lost|painted] {t}.", "Then {n} [came|went|ran] to {p}.", "At {p}, {n} was [waiting|sleeping|singing].", n=n, p=rng.choice(w.PLACES), t=f"the {rng.choice(w.THINGS)}") for n in people]
    order = pick(rng, "[List|Write down|Give me] [all |]the names in this text", "Which people are in this text?", "Who is named in this text?")
    answer = "\n".join(f"- {n}" for n in people) if rng.random() < 0.5 else ", ".join(people)
    return Task("edit", asked(rng, order, " ".join(parts)), answer, quotes=tuple(people))


def word_of(rng: Random, pool: Sequence[str]) -> Task:
    """The first or last word, or the word after another."""
    words = paragraph(rng, pool, 2)[0].rstrip(".!?").split()
    if len(words) < 4 or len(set(words)) != len(words):
        return one_sentence(rng, pool)
    at = rng.randrange(1, len(words) - 1)
    ask, answer = rng.choice((("first", words[0]), ("last", words[-1]), ("", words[at + 1])))
    clean = answer.strip('",;:!?')
    order = pick(rng, "What is the {a} word[ here| of this sentence]?", a=ask) if ask else f"Which word comes after {words[at]} in this sentence?"
    return Task("edit", asked(rng, order, " ".join(words) + "."), clean, quotes=(clean,))


Maker = Callable[[Random, Sequence[str]], Task]
MAKERS: tuple[tuple[Maker, float], ...] = (
    (replace_word, 5.0), (replace_two, 1.0), (repeat, 1.5), (one_sentence, 1.2), (drop_sentence, 0.8), (add_sentence, 0.8),
    (letters, 0.6), (spelling, 1.5), (bare, 0.5), (past_tense, 1.2), (names_in, 0.6), (word_of, 0.3),
)  # fmt: skip
_WEIGHTS = [weight for _, weight in MAKERS]


def edit(rng: Random, pool: Sequence[str]) -> Task:
    """One edit; now and then a second edit of the answer follows in the next turn."""
    maker = rng.choices(MAKERS, _WEIGHTS)[0][0]
    task = maker(rng, pool)
    names = _NAME.findall(task.answer)
    if maker in (replace_word, spelling, past_tense) and names and rng.random() < 0.2:
        old, new = rng.choice(names), w.name(rng)
        order = pick(rng, "[Now |And now |]change {o} to {n}.", "[Now |]replace {o} with {n}, please.", o=old, n=new)
        return Task(task.kind, task.user, task.answer, ((order, swapped(task.answer, old, new)),), task.quotes)
    return task
