"""Questions about a text that can only be answered by copying from it.

Contract: every answer is true of the context in the user's turn; `quotes` names the strings that must occur there.
When the text is silent, the answer says so.
"""

from __future__ import annotations

from random import Random

from . import words as w
from .phrase import HELLO, cap, expand, pick, sloppy
from .sample import Task
from .sheets import Sheet, letter, listed, prose, question, sheet, similar, statement, table
from .stories import story_facts, tell

Pair = tuple[str, str, str]
"""Question, answer, and the string that the context must hold (empty when it is silent)."""

SILENT = (
    "[It|The text] does not say.",
    "The text does not say.",
    "The text does not [say|tell] that.",
    "It does not say.",
    "[I cannot|I can't] tell from the text.",
)


def silent(rng: Random) -> str:
    """An honest answer where the context holds none."""
    return pick(rng, *SILENT)


def framed(rng: Random, context: str, ask: str) -> str:
    """Context and question put together in one of many ways."""
    if rng.random() < 0.3:
        context = rng.choice(('"""\n{c}\n"""', "---\n{c}\n---", "Text:\n{c}", "Context: {c}", '"{c}"', "<text>\n{c}\n</text>")).replace("{c}", context)
    if rng.random() < 0.3:
        return f"{ask}\n\n{context}"
    lead = pick(rng, "", "", "Read this[| carefully| first].\n\n", "Here is a text.\n\n", "[Read the text and|Please read this and|Use this text to] answer the question.\n\n", "I have this text:\n\n")
    tail = pick(rng, "", "", "", "Question: ", "Q: ", "My question: ", "Now tell me: ")
    return f"{lead}{context}\n\n{tail}{ask}"


def _answer(rng: Random, record: Sheet, index: int, sentence: str, full: bool) -> str:
    """A full sentence, copied or made anew, or just the value."""
    value = record.values[index][1]
    if not full:
        return cap(value) + ("" if value[-1].isdigit() or rng.random() < 0.5 else ".")
    return sentence if record.subject in sentence else statement(rng, record.subject, record.values[index])


def _pairs(rng: Random, record: Sheet, sentences: tuple[str, ...], full: bool) -> list[Pair]:
    """Questions over one record, the silent ones among them."""
    pairs: list[Pair] = []
    for index, (item, value) in enumerate(record.values):
        sentence = sentences[index] if sentences else ""
        pairs.append((question(rng, record.subject, item), _answer(rng, record, index, sentence, full), value))
    pairs += [(question(rng, record.subject, f), silent(rng), "") for f in record.missing[:2]]
    rng.shuffle(pairs)
    return pairs


def _task(rng: Random, kind: str, context: str, pairs: list[Pair], only: str = "") -> Task:
    """One or several questions about a context, in one turn or in several."""
    count = min(len(pairs), rng.choice((1, 1, 1, 2, 2, 3, 4)))
    chosen = pairs[:count]
    quotes = tuple(q for _, _, q in chosen if q)
    names = tuple(word for q, _, _ in chosen for word in q.split() if word[:1].isupper())
    if count > 1 and rng.random() < 0.35:
        return _numbered(rng, kind, context, chosen, quotes)
    first, *rest = chosen
    ask = sloppy(rng, first[0], keep=names) + only
    follow = tuple((expand(rng, "[|||And |Next: ]") + q + (only if rng.random() < 0.5 else ""), a) for q, a, _ in rest)
    return Task(kind, framed(rng, context, ask), first[1], follow, quotes)


def _numbered(rng: Random, kind: str, context: str, chosen: list[Pair], quotes: tuple[str, ...]) -> Task:
    """Several questions in one turn, answered under their numbers."""
    asks = "\n".join(f"{i}. {q}" for i, (q, _, _) in enumerate(chosen, 1))
    answers = "\n".join(f"{i}. {a}" for i, (_, a, _) in enumerate(chosen, 1))
    lead = pick(rng, "[Answer these questions|Please answer all questions|Answer the questions].\n", "Questions:\n", "")
    return Task(kind, framed(rng, context, lead + asks), answers, quotes=quotes)


def _style(rng: Random) -> tuple[bool, str]:
    """Whether answers are full sentences, and the words that ask for that."""
    if rng.random() < 0.75:
        return True, expand(rng, "[||||| Answer in a full sentence.]")
    return False, expand(rng, "[ Just the answer.| Short answer, please.| Answer in a few words.| Only the answer.]")


def about_record(rng: Random) -> Task:
    """Questions about one sheet, notice, email or paragraph."""
    record = sheet(rng)
    full, only = _style(rng)
    if rng.random() < 0.3:
        return _task(rng, "reading", listed(rng, record), _pairs(rng, record, (), full), only)
    context, sentences = prose(rng, record, alone=True)
    if rng.random() < 0.3:
        context = letter(rng, context, w.full_name(rng), w.name(rng))
    elif rng.random() < 0.4:
        context = with_filler(rng, list(sentences))
    return _task(rng, "reading", context, _pairs(rng, record, sentences, full), only)


FILLER = (
    "[The weather was {w} [that day|this week|for most of the year].|It was a {w} day.]",
    "[Nobody|Not everyone] [knows|remembers] this[ today|]. ",
    "[Some people|Many visitors|The neighbours|A few children] [were surprised by this|talk about it often|did not believe it].",
    "[More news will follow soon|We will write again soon|There is more to tell].",
    "[Last year|A long time ago|In the past], [things were different|this was not so|all of it was new].",
    "[{n}|A friend called {n}] [told me about it|wrote this down|said so].",
)


def with_filler(rng: Random, sentences: list[str]) -> str:
    """The sentences with others between them that answer nothing."""
    for _ in range(rng.randrange(1, 5)):
        extra = pick(rng, *FILLER, w=rng.choice(w.WEATHERS), n=w.name(rng)).strip()
        sentences.insert(rng.randrange(len(sentences) + 1), extra)
    return " ".join(sentences)


def about_several(rng: Random) -> Task:
    """Questions over several subjects of one kind, in prose or in a table."""
    records = similar(rng, rng.choice((2, 2, 3, 3, 4, 5)) if rng.random() < 0.95 else rng.randrange(6, 13))
    full, only = _style(rng)
    pairs: list[Pair] = []
    if rng.random() < 0.5:
        context = table(rng, records)
        for record in records:
            pairs += _pairs(rng, record, (), full)[:3]
    else:
        parts = [prose(rng, r) for r in records]
        gap = rng.choice((" ", "\n", "\n\n"))
        context = gap.join(text for text, _ in parts)
        for record, (_, sentences) in zip(records, parts, strict=True):
            pairs += _pairs(rng, record, sentences, full)[:3]
    rng.shuffle(pairs)
    return _task(rng, "reading", context, pairs, only)


def which_one(rng: Random) -> Task:
    """The question the other way round: who or what has this value?"""
    records = similar(rng, rng.choice((2, 3, 4)))
    target = rng.choice(records)
    clues = [(f, v) for f, v in target.values if sum((f, v) in r.values for r in records) == 1]
    if not clues:
        return about_record(rng)
    item, value = rng.choice(clues)
    context = " ".join(prose(rng, r)[0] for r in records) if rng.random() < 0.5 else table(rng, records)
    noun = target.topic.noun
    ask = pick(rng, "Which {n} has the {k} {v}?", "[Which one has|Whose] {k} is {v}?", "Name the {n} whose {k} is {v}.", n=noun, k=item.key, v=value)
    ask = ask.replace("has {k} is", "has")
    subject = target.subject.removeprefix("the ")
    answer = pick(rng, "{s}.", "It is {s}.", "The {n} with the {k} {v} is {s}.", s=subject, n=noun, k=item.key, v=value)
    return Task("reading", framed(rng, context, ask), cap(answer), quotes=(subject, value))


def about_story(rng: Random) -> Task:
    """Questions about a story."""
    story = tell(rng)
    pairs: list[Pair] = [(q, a, "") for q, a in story_facts(rng, story)]
    if rng.random() < 0.2:
        odd = pick(rng, "How old was {h}?", "What colour was {hhis} hair?", "What was the name of {hhis} school?", "What did {f} have for breakfast?", **story.slots)
        pairs.insert(0, (odd, expand(rng, "The story does not [say|tell]."), ""))
    return _task(rng, "reading", story.text, pairs)


def house_rules(rng: Random) -> Task:
    """A system turn that holds the facts, and a guest who asks about them."""
    record = sheet(rng, most=6)
    body = listed(rng, record) if rng.random() < 0.5 else prose(rng, record, alone=True)[0]
    role = pick(rng, "You [are a helpful assistant|answer questions for guests|work at the front desk]. [Use only these facts|Here is what you know|Answer from this text]:\n", "[Facts|Information|Notes]:\n")
    pairs = _pairs(rng, record, (), True)[: rng.choice((1, 2, 3))]
    (first, answer, _), *rest = pairs
    greeting = f"{cap(expand(rng, HELLO))}! " if rng.random() < 0.3 else ""
    answer = answer if answer not in ("It does not say.", "The text does not say.") else "I am sorry, I do not know that."
    return Task("reading", greeting + first, answer, tuple((q, a) for q, a, _ in rest), system=role + body)


def find_sentence(rng: Random) -> Task:
    """The sentence of a text that says something, word for word."""
    records = similar(rng, rng.choice((1, 2, 2, 3)))
    sentences = [s for r in records for s in prose(rng, r)[1]]
    value = rng.choice([v for r in records for _, v in r.values])
    hits = [s for s in sentences if value in s]
    if len(hits) != 1:
        return about_story(rng)
    rng.shuffle(sentences)
    ask = pick(rng, "Which sentence [mentions|contains|talks about] {v}?", "[Copy|Quote|Give me|Repeat] the sentence [with|that mentions] {v}.", 'Find the sentence with "{v}"[ in it|].', v=value)
    return Task("reading", framed(rng, " ".join(sentences), ask), hits[0], quotes=(hits[0],))
