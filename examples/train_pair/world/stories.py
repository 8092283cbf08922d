"""Stories whose people, places and things are tracked, and the requests that they answer.

Contract: `tell(rng, wish)` returns a `Story` that honours every entry of the wish; its facts are true of its text.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import pairwise
from random import Random

from . import words as w
from .phrase import an, cap, expand, pick, sloppy
from .plots import OPENINGS, PLOTS, Plot
from .sample import Task

RELATIVES = (
    ("mother", "she", "her", "her"),
    ("father", "he", "him", "his"),
    ("grandmother", "she", "her", "her"),
    ("grandfather", "he", "him", "his"),
    ("aunt", "she", "her", "her"),
    ("uncle", "he", "him", "his"),
)
DAYPARTS = ("morning", "day", "afternoon", "evening", "sunny day", "rainy day", "cold morning", "summer day", "quiet morning")
NOTES = (
    "Whoever finds this [shall keep it|may keep it|is lucky].",
    "Look after it well, and [share it|be kind].",
    "For [{r}|the one who never gives up|a good friend].",
    "A good friend is worth more than gold.",
    "I hid this here [{n}|many] years ago. [It is yours now.|Now it belongs to you.]",
)


@dataclass
class Wish:
    """What a request asks of a story; empty fields are free."""

    hero: w.Being | None = None
    friend: w.Being | None = None
    animal: w.Being | None = None
    thing: str = ""
    place: str = ""
    plot: Plot | None = None


@dataclass(frozen=True)
class Story:
    """A told story with what is known about it."""

    sentences: tuple[str, ...]
    slots: dict[str, str]
    plot: Plot
    gist: str
    title: str
    text: str = field(default="")


def _cast(rng: Random, wish: Wish) -> tuple[w.Being, w.Being, w.Being, w.Being]:
    """Hero, friend, animal and a neighbour, no two with one name."""
    taken = tuple(b.name for b in (wish.hero, wish.friend, wish.animal) if b)
    hero = wish.hero or w.person(rng, taken)
    friend = wish.friend or w.person(rng, (*taken, hero.name))
    animal = wish.animal or w.beast(rng, (*taken, hero.name, friend.name))
    return hero, friend, animal, w.person(rng, (*taken, hero.name, friend.name, animal.name))


def _slots(rng: Random, wish: Wish) -> dict[str, str]:
    """Everything a plot's templates may name."""
    hero, friend, animal, other = _cast(rng, wish)
    thing, gift = wish.thing or rng.choice(w.THINGS), rng.choice(w.THINGS)
    look = f"{rng.choice(w.COLOURS + w.ADJECTIVES)} {thing}" if rng.random() < 0.7 else thing
    places = rng.sample([p for p in w.PLACES if p != wish.place], 3)
    if wish.place:
        places[0] = wish.place
    relative, he, him, his = rng.choice(RELATIVES)
    day, day2 = rng.sample(w.DAYS, 2)
    slots = {
        **hero.slots("h"), **friend.slots("f"), **animal.slots("a"), **other.slots("r2"),
        "r": relative, "rhe": he, "rhim": him, "rhis": his, "t": thing, "at": an(look), "the": f"the {look}",
        "g": gift, "ag": an(gift), "p": places[0], "p2": places[1], "p3": places[2], "day": day, "day2": day2,
        "dayonly": rng.choice(w.DAYS), "dayp": rng.choice(DAYPARTS), "food": rng.choice(w.FOODS),
        "trait": rng.choice(w.TRAITS), "fruit": rng.choice([f for f in w.FRUITS if not f.endswith(("y", "h", "o"))]),
    }  # fmt: skip
    slots |= {"anakind": an(animal.kind), "ahkind": an(hero.kind), "antrait": an(slots["trait"])}
    slots["note"] = pick(rng, *NOTES, r=relative, n=rng.randrange(5, 90))
    return slots


def tell(rng: Random, wish: Wish | None = None, short: bool = False) -> Story:
    """A story; short ones leave out the opening's extras and the lesson."""
    wish = wish or Wish()
    plot = wish.plot or rng.choice(PLOTS)
    slots = _slots(rng, wish)
    parts = [pick(rng, *OPENINGS, **slots), *(pick(rng, *beat, **slots) for beat in plot.beats)]
    if not short:
        parts.append(pick(rng, *plot.lesson, **slots))
    parts = [cap(p) for p in parts if p]
    title = pick(rng, "{h} and the {t}", "The {t}", "{h} and {f}", "{h} at {p}", "A day with {h}", **slots)
    return Story(tuple(parts), slots, plot, pick(rng, *plot.gist, **slots), title, layout(rng, parts))


def layout(rng: Random, parts: list[str]) -> str:
    """The parts as one paragraph, or as two or three."""
    if rng.random() < 0.4 or len(parts) < 5:
        return " ".join(parts)
    cuts = sorted(rng.sample(range(2, len(parts) - 1), rng.choice((1, 2)) if len(parts) > 5 else 1))
    edges = [0, *cuts, len(parts)]
    return "\n\n".join(" ".join(parts[i:j]) for i, j in pairwise(edges))


def story_facts(rng: Random, story: Story) -> list[tuple[str, str]]:
    """Questions about a story with their true answers, in random order."""
    facts = [(expand(rng, q, **story.slots), cap(expand(rng, a, **story.slots))) for q, a in story.plot.facts]
    rng.shuffle(facts)
    return facts


ASKS = (
    "Tell me a [short |little |]story{about}.",
    "[Please write|Write|Write me|Make up|Can you tell me|I want to hear|Could you write|tell] a [short |nice |little |bedtime |]story{about}.",
    "[Can you|Could you|Will you|Would you] tell [me|us] a [short |]story{about}?",
    "I would like a story{about}[, please|].",
    "A story{about}, please.",
    "Story time! Tell me one{about}.",
)
VERBS = {
    "find": "who finds {at}", "lost": "who [loses|lost] {at}", "rescue": "who [saves|rescues] {a} the {akind}",
    "journey": "who brings {at} to {f}", "share": "who learns to share", "fear": "who is afraid but brave",
    "party": "who cooks for a friend", "newcomer": "who is new in town", "thief": "who catches a thief",
    "grow": "who plants a seed", "wish": "who gets a wish", "opens": "who finds [a|an old|a small] key",
}  # fmt: skip


def wished_thing(rng: Random) -> str:
    """A thing that somebody may want in a story; often one that no list of things holds."""
    roll, thing = rng.random(), rng.choice(w.THINGS)
    if roll < 0.7:
        return thing
    if roll < 0.85:
        return f"{rng.choice(w.MATERIALS + w.COLOURS)} {thing}"
    return rng.choice((w.invented(rng), rng.choice(w.FRUITS), f"{rng.choice(w.ANIMALS)} {rng.choice(('egg', 'statue', 'mask'))}"))


def _hero(rng: Random) -> w.Being:
    """The one the story is about: mostly a child, at times an animal or someone from a fairy tale."""
    hero = w.person(rng) if rng.random() < 0.85 else w.beast(rng)
    if rng.random() < 0.15:
        female = hero.he == "she"
        tale = ("princess", "queen", "witch", "fairy") if female else ("prince", "king", "knight", "wizard")
        return replace(hero, kind=rng.choice((*tale, "pirate", "dragon", "unicorn", "giant", *w.JOBS)))
    return hero


def _asked(rng: Random) -> tuple[Wish, str]:
    """A wish and the words that ask for it."""
    hero = _hero(rng)
    wish, parts = Wish(hero=hero), []
    who = pick(rng, f" about {an(hero.kind)} [called|named] {hero.name}", f" about {hero.name}" if  rng.random() < 0.5 else f" about {an(hero.kind)} named {hero.name}")
    roll = rng.random()
    if roll < 0.55:
        wish.plot = rng.choice(PLOTS)
        parts = _plot_words(rng, wish)
    elif roll < 0.7:
        wish.friend = w.person(rng, (hero.name,))
        parts.append(f" and a {wish.friend.kind} [named|called] {wish.friend.name}")
    elif roll < 0.85:
        wish.thing = wished_thing(rng)
        wish.plot = rng.choice([p for p in PLOTS if p.name not in ("grow", "opens")])
        parts.append(f"[ and| and also|, with] {an(wish.thing)}")
    if rng.random() < 0.2:
        wish.place = rng.choice(w.PLACES)
        wish.plot = wish.plot if wish.plot is not None and wish.plot.name != "party" else rng.choice(PLOTS[:7])
        parts.append(f" [at|in|near] {wish.place}" if wish.plot is None or not parts else f". It should happen at {wish.place}")
    return wish, who + "".join(parts)


def _plot_words(rng: Random, wish: Wish) -> list[str]:
    """The clause that names the plot, with the thing and the animal it needs fixed in the wish."""
    assert wish.plot is not None
    assert wish.hero is not None
    wish.thing = wished_thing(rng)
    wish.animal = w.beast(rng, (wish.hero.name,))
    wish.friend = w.person(rng, (wish.hero.name, wish.animal.name))
    slots = {"at": an(wish.thing), "a": wish.animal.name, "akind": wish.animal.kind, "f": wish.friend.name}
    return [" " + expand(rng, VERBS[wish.plot.name], **slots)]


def ask_story(rng: Random) -> Task:
    """A request for a story, and the story."""
    if rng.random() < 0.12:
        story = tell(rng)
        request = expand(rng, rng.choice(ASKS).format(about=rng.choice(("", "", " for my [son|daughter]"))))
        return Task("story", sloppy(rng, request), story.text)
    if rng.random() < 0.15:
        return _story_of_kind(rng)
    wish, about = _asked(rng)
    assert wish.hero is not None
    names = tuple(x for x in (wish.hero.name, wish.friend and wish.friend.name, wish.thing) if x)
    request = sloppy(rng, expand(rng, rng.choice(ASKS).format(about=about)), keep=names)
    return Task("story", request, tell(rng, wish).text)


def _story_of_kind(rng: Random) -> Task:
    """A request that names only what the story is to be about: an animal, a thing, a place or a feeling."""
    if rng.random() < 0.4:
        hero = w.beast(rng)
        return Task("story", sloppy(rng, pick(rng, *ASKS, about=f" about {an(hero.kind)}")), tell(rng, Wish(hero=hero)).text)
    if rng.random() < 0.5:
        thing = rng.choice(w.THINGS)
        plot = rng.choice([p for p in PLOTS if p.name not in ("grow", "opens")])
        return Task("story", sloppy(rng, pick(rng, *ASKS, about=f" about {an(thing)}")), tell(rng, Wish(thing=thing, plot=plot)).text)
    plot = rng.choice(PLOTS)
    return Task("story", sloppy(rng, pick(rng, *ASKS, about=" about " + TOPICS[plot.name])), tell(rng, Wish(plot=plot)).text)


TOPICS = {
    "find": "being honest", "lost": "something that was lost", "rescue": "a rescue", "journey": "a journey",
    "share": "sharing", "fear": "being brave", "party": "a birthday", "newcomer": "a new friend",
    "thief": "a mystery", "grow": "being patient", "wish": "a wish", "opens": "a hidden treasure",
}  # fmt: skip


def continue_story(rng: Random) -> Task:
    """The start of a story, to be carried on with the same people."""
    story = tell(rng)
    cut = rng.randrange(2, len(story.sentences) - 2)
    start, rest = " ".join(story.sentences[:cut]), " ".join(story.sentences[cut:])
    request = pick(
        rng,
        "[Continue|Finish|Carry on] this story:\n\n{start}",
        "How does this story [go on|end]?\n\n{start}",
        "{start}\n\n[What happens next?|Finish the story.|Continue.]",
        start="{start}",
    )
    return Task("story", request.replace("{start}", start), rest)
