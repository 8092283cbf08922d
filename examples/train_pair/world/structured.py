"""JSON by a given schema or by named keys, read out of a text.

Contract: the answer is one JSON object, valid under the schema in the request, with values that the text names.
"""

from __future__ import annotations

import json
from random import Random

from . import words as w
from .phrase import an, cap, join_and, pick
from .sample import Json, Task
from .schemas import fill, invented_shape, spoken
from .sheets import Sheet, prose, sheet

_KEYS = {
    "employee number": "employee_number", "favourite food": "favourite_food", "known for": "known_for", "main product": "main_product",
    "order number": "order_number", "life span": "life_span", "closed on": "closed_on",
}  # fmt: skip
_WHOLE = {"age", "seats", "founded", "young"}


def dump(value: object) -> str:
    """JSON in the one style of this world."""
    return json.dumps(value, ensure_ascii=False)


def _typed(key: str, value: str) -> object:
    return int(value) if key in _WHOLE else value


def _object(rng: Random, record: Sheet) -> tuple[Json, Json]:
    """A record as an object, and its schema."""
    head = "title" if record.topic.noun in ("event", "product") else "name"
    value: Json = {head: record.subject.removeprefix("the ")}
    for item, text in record.values:
        value[_KEYS.get(item.key, item.key)] = _typed(item.key, text)
    keys = list(value)
    if rng.random() < 0.4:
        keys = rng.sample(keys, rng.randrange(1, len(keys) + 1))
        value = {k: value[k] for k in keys}
    kinds = {k: {"type": "integer" if isinstance(v, int) else "string"} for k, v in value.items()}
    return value, {"type": "object", "properties": kinds, "required": keys}


def extract(rng: Random) -> Task:
    """An object whose values stand in a paragraph."""
    record = sheet(rng, most=5)
    text = prose(rng, record, alone=True)[0]
    value, schema = _object(rng, record)
    quotes = tuple(str(v) for v in value.values())
    return Task("json", _order(rng, text, value, schema), dump(value), quotes=quotes)


def _order(rng: Random, text: str, value: Json, schema: Json) -> str:
    """The request: with a schema, with an example of keys, or with the keys in words."""
    keys = _named(rng, list(value)) if rng.random() < 0.5 else ", ".join(value)
    if rng.random() < 0.45:
        lead = pick(rng, "[Return|Give me|Write|Answer with] [a |one |]JSON [object |]that [fits|follows|matches] this schema", "Fill this JSON schema from the text", "Use this JSON schema", "Extract the data as JSON with this schema")
        body = f"{lead}:\n{dump(schema)}\n\n{text}"
        return body if rng.random() < 0.6 else f"{text}\n\n{lead}:\n{dump(schema)}"
    lead = pick(
        rng,
        "[Write|Give me|Return|Make] [a |]JSON [object |][with the keys|with keys|with] {k}",
        "Turn this into JSON with the keys {k}",
        "Extract {k} as JSON",
        "[Give me|I need] this as JSON ({k})",
        k=keys,
    )
    return f"{lead}:\n{text}" if rng.random() < 0.6 else f"{text}\n\n{lead}."


def _named(rng: Random, keys: list[str]) -> str:
    """Keys as people list them: a, 'b' and "c"."""
    quote = rng.choice(("", "", "'", "'", '"', "`"))
    shown = [f"{quote}{key}{quote}" for key in keys]
    return join_and(shown) if rng.random() < 0.7 else ", ".join(shown)


def _free(rng: Random, key: str, topic: str) -> object:
    """What may stand under a key when nothing is said about it but the topic."""
    beast, thing, colour = rng.choice(w.ANIMALS), rng.choice(w.THINGS), rng.choice(w.COLOURS)
    ask = pick(rng, "Why did the {b} take the {t}?", "What does a {c} {t} say?", "Where does the {b} keep the {t}?", b=beast, t=thing, c=colour)
    reply = pick(rng, "Because it was {c}.", "It was too {c} for the {b}.", "Under the {c} {t}.", "Nobody knows, not even the {b}.", b=beast, c=colour, t=thing)
    told = pick(rng, "The {b} likes {x} and a {c} {t}.", "A {b} found a {t} and told everybody about {x}.", "All I know of {x} is {c}.", b=beast, t=thing, c=colour, x=topic)
    known: dict[str, object] = {
        **dict.fromkeys(("setup", "question", "riddle", "joke", "ask"), ask), **dict.fromkeys(("punchline", "answer", "reason", "reply", "ending"), reply),
        **dict.fromkeys(("text", "story", "sentence", "summary", "description", "fact", "message", "content", "result", "body"), told),
        **dict.fromkeys(("title", "headline", "heading"), f"The {colour} {thing}"), **dict.fromkeys(("topic", "subject", "about"), topic),
        **dict.fromkeys(("name", "author", "friend", "owner"), w.name(rng)), **dict.fromkeys(("age", "count", "score", "year", "number"), rng.randrange(1, 90)),
        **dict.fromkeys(("city", "town", "place", "country", "location"), w.city(rng)), **dict.fromkeys(("colour", "color"), colour),
        **dict.fromkeys(("animal", "pet", "species"), beast), **dict.fromkeys(("food", "snack"), rng.choice(w.GROCERIES)), "job": rng.choice(w.JOBS),
        "hobby": rng.choice(w.HOBBIES), "day": rng.choice(w.DAYS), "time": w.clock(rng), "date": w.date(rng), "email": w.email(rng, w.name(rng)),
    }  # fmt: skip
    return known[key] if key in known else rng.choice((thing, w.invented(rng), rng.randrange(100)))


_FREE_KEYS = tuple(
    "setup punchline question answer riddle joke reason reply ending text story sentence summary description fact message content result title "
    "headline topic subject name author friend owner age count score year number city town place country location colour color animal pet species "
    "food snack job hobby day time date email".split()
)  # fmt: skip


def free(rng: Random) -> Task:
    """An object with exactly the named keys, about some topic, with values that nobody has given."""
    topic = rng.choice(w.THINGS + w.HOBBIES + w.GROCERIES) if rng.random() < 0.6 else f"{rng.choice(w.ANIMALS)}s"
    keys: list[str] = []
    for _ in range(rng.choice((1, 2, 2, 2, 3, 3, 4))):
        key = rng.choice(_FREE_KEYS) if rng.random() < 0.8 else rng.choice((w.invented(rng), f"{w.invented(rng)}_{rng.choice(_FREE_KEYS)}"))
        keys += [key] if key not in keys else []
    wish = pick(rng, "Tell me [a joke|a story|a fact|something|a riddle] about {x}", "[Describe|Make up] [a |some |]{x}", "[Write|Say] something about {x}", "I want to know about {x}", "What is {x}?", x=topic)
    form = pick(
        rng,
        "[Return|Give|Write|Send] [the result|the answer|it|your answer] as [a |]JSON [object |]with {k} keys",
        "[Answer|Reply] [as|in|with] [a |]JSON [object |]with [the |][{n} |]keys[:|] {k}",
        "[Return|Give me|I want] [a |]JSON [object |]with [{n} |]keys[:|] {k}",
        "Use [exactly |]the keys {k} and answer [in|with|as] JSON",
        n=("", "two", "three", "four")[len(keys) - 1], k=_named(rng, keys),
    )  # fmt: skip
    form = " ".join(form.split())
    end = pick(rng, "", "", " Return nothing other than JSON.", " Only JSON, please.", " No other text.", " Answer with JSON only.")
    request = f"{wish.rstrip('?')}{'?' if wish.endswith('?') else '.'} {form}.{end}" if rng.random() < 0.75 else f"{form}. {wish}{end}"
    return Task("json", request, dump({key: _free(rng, key, topic) for key in keys}))


def from_words(rng: Random) -> Task:
    """An object from "a is 1, b is x" with invented keys, or a list of objects."""
    shape = invented_shape(rng, 5)
    value = fill(rng, shape)
    pairs = [pick(rng, "{k} {v}", "{k} is {v}", "{k}: {v}", "{k} = {v}", k=k.replace("_", " ") if rng.random() < 0.5 else k, v=spoken(v)) for k, v in value.items()]
    request = pick(rng, "[Write|Give me|Make] JSON for this: {p}", "Turn this into JSON: {p}", "JSON, please: {p}", "{p}\n\nAs JSON, please.", p="{p}").replace("{p}", ", ".join(pairs))
    if rng.random() < 0.5:
        request += f"\n\nSchema: {dump(shape.schema())}"
    return Task("json", request, dump(value))


def people(rng: Random) -> Task:
    """Several people as a JSON list."""
    rows = [{"name": w.name(rng), "age": rng.randrange(4, 90)} for _ in range(rng.randrange(2, 5))]
    key, bank = rng.choice((("age", ()), ("city", w.CITIES), ("job", w.JOBS), ("pet", w.ANIMALS)))
    if bank:
        rows = [{"name": r["name"], key: rng.choice(bank)} for r in rows]
    say = {"age": "{n} is {v}.", "city": "{n} lives in {v}.", "job": "{n} is {v}.", "pet": "{n} has {v}."}[key]
    text = " ".join(say.format(n=r["name"], v=an(str(r[key])) if key in ("job", "pet") else r[key]) for r in rows)
    order = pick(rng, "[Make|Write|Give me] a JSON [list|array] with name and {k}", "Turn this into a JSON array of objects with the keys name and {k}", k=key)
    return Task("json", f"{order}: {text}", dump(rows))


def change(rng: Random) -> Task:
    """A given object with one value changed, added or taken out; or one value read."""
    value = fill(rng, invented_shape(rng, 5))
    key = rng.choice(list(value))
    new: object = rng.randrange(1, 900) if isinstance(value[key], int) else w.name(rng)
    roll = rng.random()
    if roll < 0.35:
        return Task("json", f"{dump(value)}\n\n{pick(rng, 'What is the {k}?', 'Which value does {k} have?', 'Give me {k}.', k=key)}", spoken(value[key]) if not isinstance(value[key], bool) else str(value[key]).lower())
    if roll < 0.7:
        return Task("json", f"{pick(rng, 'Set', 'Change')} {key} to {new}:\n{dump(value)}", dump(value | {key: new}))
    if roll < 0.85 and len(value) > 1:
        return Task("json", f"Remove {key} from this JSON:\n{dump(value)}", dump({k: v for k, v in value.items() if k != key}))
    extra = w.invented(rng)
    return Task("json", f"Add the key {extra} with the value {new}:\n{dump(value)}", dump(value | {extra: new}))


def structured(rng: Random) -> Task:
    """One task about JSON."""
    task = rng.choices((extract, free, from_words, people, change), (4.5, 2.5, 2.5, 1.0, 1.2))[0](rng)
    if rng.random() < 0.1 and not task.system:
        return Task(task.kind, cap(task.user), task.answer, task.follow, task.quotes, "You answer only with JSON.")
    return task
