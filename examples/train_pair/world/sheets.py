"""Records with fields, and the many shapes they are written in: sheet, table, prose, notice, email.

Contract: a `Sheet` knows the value of each of its fields; `write` renders all of them and nothing else, so a field
that is left out is truly not in the text.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from . import words as w
from .phrase import cap, expand, pick

Draw = Callable[[Random], str]


@dataclass(frozen=True)
class Field:
    """One thing that can be said about a subject {s}: its value {v}, sentences and questions."""

    key: str
    draw: Draw
    says: tuple[str, ...]
    asks: tuple[str, ...]


@dataclass(frozen=True)
class Topic:
    """A kind of subject with its fields."""

    noun: str
    subject: Draw
    fields: tuple[Field, ...]


@dataclass(frozen=True)
class Sheet:
    """One subject with the values of some of its fields, and the fields that were left out."""

    topic: Topic
    subject: str
    values: tuple[tuple[Field, str], ...]
    missing: tuple[Field, ...]


def _of(*options: str) -> Draw:
    return lambda rng: rng.choice(options)


def _count(low: int, high: int, unit: str = "") -> Draw:
    return lambda rng: f"{rng.randrange(low, high)}{unit}"


def _fresh(ending: str = "") -> Draw:
    return lambda rng: w.invented(rng).capitalize() + ending


def _product(rng: Random) -> str:
    """Something that a town may make."""
    return f"{rng.choice(w.MATERIALS)} {rng.choice(('shoes', 'boxes', 'toys', 'chairs', 'bags', 'cups', 'lamps'))}"


PERSON = Topic(
    "person",
    w.full_name,
    (
        Field("job", _of(*w.JOBS), ("{s} works as a {v}.", "{s} is a {v} by trade."), ("What is {s}'s job?", "What does {s} do for a living?", "What does {s} work as?")),
        Field("age", _count(8, 95), ("{s} is {v} years old.", "{s} turned {v} this year."), ("How old is {s}?", "What is {s}'s age?")),
        Field("city", w.city, ("{s} lives in {v}.", "{s} has a home in {v}."), ("Where does {s} live?", "Which city does {s} live in?", "In which town does {s} live?")),
        Field("hobby", _of(*w.HOBBIES), ("{s} enjoys {v} in the evenings.", "In free hours, {s} likes {v}."), ("What is {s}'s hobby?", "What does {s} like to do?")),
        Field("phone", w.phone, ("The phone number of {s} is {v}.", "You can call {s} at {v}."), ("What is {s}'s phone number?", "How can I call {s}?", "Which number should I call to reach {s}?")),
        Field("birthday", lambda r: f"{r.choice(w.MONTHS)} {r.randrange(1, 29)}", ("{s} has a birthday on {v}.", "The birthday of {s} is {v}."), ("When is {s}'s birthday?", "When was {s} born?")),
        Field("pet", lambda r: f"a {r.choice(w.ANIMALS[:4])} called {w.invented(r).capitalize()}", ("{s} has {v}.", "{s} looks after {v}."), ("Does {s} have a pet?", "What pet does {s} have?")),
        Field("favourite food", _of(*w.FOODS), ("The favourite food of {s} is {v}.", "{s} loves {v} most of all."), ("What is {s}'s favourite food?", "What does {s} like to eat?")),
        Field("employee number", w.code, ("The employee number of {s} is {v}.", "{s} has employee number {v}."), ("What is {s}'s employee number?", "Which employee number does {s} have?")),
    ),
)
EVENT = Topic(
    "event",
    lambda r: f"the {r.choice(w.EVENTS)}",
    (
        Field("date", lambda r: f"{r.choice(w.DAYS)}, {r.choice(w.MONTHS)} {r.randrange(1, 29)}", ("{s} [takes place|will be held] on {v}.", "{s} is on {v}."), ("When is {s}?", "What day is {s}?", "On which date does {s} take place?")),
        Field("time", w.clock, ("{s} [starts|begins] at {v}.", "The doors to {s} open at {v}."), ("What time does {s} start?", "When does {s} begin?", "At what time is {s}?")),
        Field("place", lambda r: r.choice(w.ROOMS) if r.random() < 0.6 else f"{w.invented(r).capitalize()} {r.choice(('Hall', 'House', 'Square', 'Centre'))}", ("{s} takes place in {v}.", "Come to {v} for {s}."), ("Where is {s}?", "Where does {s} take place?", "Which place is {s} in?")),
        Field("price", w.price, ("A ticket for {s} costs {v}.", "Entry to {s} is {v} per person."), ("How much does {s} cost?", "What is the price of {s}?", "How much is a ticket for {s}?")),
        Field("contact", w.full_name, ("For questions about {s}, ask {v}.", "{v} is organising {s}."), ("Who organises {s}?", "Who should I ask about {s}?", "Who is the contact for {s}?")),
        Field("bring", _of("a warm coat", "a pencil and paper", "your own cup", "good shoes", "a towel", "a photo of yourself", "something to eat", "an umbrella"), ("Please bring {v} to {s}.", "Everyone at {s} needs {v}."), ("What should I bring to {s}?", "What do people need for {s}?")),
        Field("seats", _count(8, 400), ("There are {v} seats at {s}.", "{s} has room for {v} people."), ("How many seats are there at {s}?", "How many people can come to {s}?")),
    ),
)
PLACE = Topic(
    "town",
    lambda r: w.invented(r).capitalize() + r.choice(("", "ville", " Island", " Bay", "ford")),
    (
        Field("population", lambda r: f"{r.randrange(100, 900000):,}", ("{s} has {v} inhabitants.", "About {v} people live in {s}."), ("How many people live in {s}?", "What is the population of {s}?")),
        Field("river", _fresh(), ("The river {v} runs through {s}.", "{s} lies on the river {v}."), ("Which river runs through {s}?", "What is the name of the river in {s}?")),
        Field("founded", _count(900, 1990), ("{s} was founded in {v}.", "People first built houses in {s} in {v}."), ("When was {s} founded?", "In which year was {s} founded?", "How old is {s}?")),
        Field("mayor", w.full_name, ("The mayor of {s} is {v}.", "{v} is the mayor of {s}."), ("Who is the mayor of {s}?", "What is the name of the mayor of {s}?")),
        Field("known for", lambda r: f"its {r.choice(w.COLOURS)} {r.choice(('houses', 'bridges', 'boats', 'towers', 'gardens', 'cheese', 'roofs', 'bells'))}", ("{s} is [known|famous] for {v}.", "Visitors come to {s} for {v}."), ("What is {s} known for?", "What is {s} famous for?", "Why do visitors come to {s}?")),
        Field("main product", _product, ("The main product of {s} is {v}.", "Most people in {s} make {v}."), ("What is made in {s}?", "What is the main product of {s}?")),
        Field("distance", lambda r: f"{r.randrange(3, 900)} km from {w.city(r)}", ("{s} is {v}.", "{s} lies {v}."), ("How far away is {s}?", "How far is {s} from the next city?")),
        Field("language", _fresh("ish"), ("People in {s} speak {v}.", "The language of {s} is {v}."), ("Which language do people in {s} speak?", "What language is spoken in {s}?")),
    ),
)
PRODUCT = Topic(
    "product",
    lambda r: f"the {w.invented(r).capitalize()} {r.choice(w.THINGS)}",
    (
        Field("price", w.price, ("{s} costs {v}.", "The price of {s} is {v}."), ("How much does {s} cost?", "What is the price of {s}?", "How much is {s}?")),
        Field("colour", _of(*w.COLOURS), ("{s} comes in {v}.", "The colour of {s} is {v}."), ("What colour is {s}?", "Which colour does {s} have?")),
        Field("weight", lambda r: f"{r.randrange(2, 90) * r.choice((1, 10))} {r.choice(('g', 'kg', 'grams'))}", ("{s} weighs {v}.", "The weight of {s} is {v}."), ("How heavy is {s}?", "How much does {s} weigh?")),
        Field("material", _of(*w.MATERIALS), ("{s} is made of {v}.", "The makers of {s} use {v}."), ("What is {s} made of?", "Which material is {s} made of?")),
        Field("order number", w.code, ("The order number of {s} is {v}.", "To order {s}, give the number {v}."), ("What is the order number of {s}?", "Which number do I give to order {s}?")),
        Field("warranty", lambda r: f"{r.randrange(1, 11)} {r.choice(('months', 'years'))}", ("{s} has a warranty of {v}.", "The warranty of {s} lasts {v}."), ("How long is the warranty of {s}?", "What warranty does {s} have?")),
        Field("maker", lambda r: f"{w.invented(r).capitalize()} {r.choice(('Works', 'Brothers', 'and Sons', 'Ltd'))}", ("{s} is made by {v}.", "{v} makes {s}."), ("Who makes {s}?", "Which company makes {s}?")),
    ),
)
CREATURE = Topic(
    "animal",
    lambda r: f"the {w.invented(r)}",
    (
        Field("food", lambda r: f"{r.choice(('leaves', 'small fish', 'seeds', 'roots', 'insects', 'berries', 'grass', 'mushrooms'))} and {r.choice(('moss', 'bark', 'eggs', 'honey', 'worms', 'nuts'))}", ("{s} eats {v}.", "The food of {s} is {v}."), ("What does {s} eat?", "What is the food of {s}?")),
        Field("home", lambda r: f"the {r.choice(('dry', 'cold', 'high', 'deep', 'warm'))} {r.choice(('forests', 'valleys', 'lakes', 'hills', 'caves'))} of {w.invented(r).capitalize()}", ("{s} lives in {v}.", "You can find {s} in {v}."), ("Where does {s} live?", "Where can you find {s}?")),
        Field("length", _count(3, 300, " cm"), ("{s} grows to a length of {v}.", "{s} is about {v} long."), ("How long is {s}?", "How big does {s} get?")),
        Field("life span", _count(1, 120, " years"), ("{s} lives for up to {v}.", "The life span of {s} is {v}."), ("How long does {s} live?", "What is the life span of {s}?", "How old can {s} get?")),
        Field("colour", lambda r: f"{r.choice(w.COLOURS)} with {r.choice(w.COLOURS)} {r.choice(('stripes', 'spots', 'feet', 'ears'))}", ("{s} is {v}.", "The fur of {s} is {v}."), ("What colour is {s}?", "What does {s} look like?")),
        Field("young", _count(1, 30), ("{s} has {v} young each year.", "Every spring, {s} has {v} young."), ("How many young does {s} have?", "How many young does {s} have each year?")),
        Field("enemy", lambda r: f"the {w.invented(r)}", ("The only enemy of {s} is {v}.", "{s} fears {v}."), ("What is the enemy of {s}?", "What does {s} fear?")),
    ),
)
TRIP = Topic(
    "train",
    lambda r: f"{r.choice(('train', 'bus', 'flight', 'ferry'))} {w.code(r)}",
    (
        Field("from", w.city, ("{s} leaves from {v}.", "{s} starts its trip in {v}."), ("Where does {s} leave from?", "Where does {s} start?")),
        Field("to", w.city, ("{s} goes to {v}.", "{s} ends its trip in {v}."), ("Where does {s} go?", "What is the destination of {s}?")),
        Field("leaves", w.clock, ("{s} leaves at {v}.", "The departure of {s} is at {v}."), ("When does {s} leave?", "What time does {s} leave?")),
        Field("arrives", w.clock, ("{s} arrives at {v}.", "The arrival of {s} is at {v}."), ("When does {s} arrive?", "What time does {s} arrive?")),
        Field("platform", lambda r: f"{r.randrange(1, 40)}{r.choice(('', '', 'A', 'B'))}", ("Passengers board {s} at gate {v}.", "The gate of {s} is {v}."), ("Which gate does {s} leave from?", "What is the gate of {s}?")),
        Field("price", w.price, ("A ticket for {s} costs {v}.", "The fare of {s} is {v}."), ("How much is a ticket for {s}?", "What is the fare of {s}?")),
        Field("driver", w.full_name, ("{v} is in charge of {s}.", "The person in charge of {s} is {v}."), ("Who is in charge of {s}?",)),
    ),
)
SHOP = Topic(
    "shop",
    lambda r: f"the {w.invented(r).capitalize() if r.random() < 0.5 else cap(r.choice(w.COLOURS))} {r.choice(('Cafe', 'Bakery', 'Bookshop', 'Museum', 'Hotel', 'Library', 'Pool', 'Garden'))}",
    (
        Field("opens", w.clock, ("{s} opens at {v}.", "The doors of {s} open at {v} every morning."), ("When does {s} open?", "What time does {s} open?")),
        Field("closes", w.clock, ("{s} closes at {v}.", "{s} is open until {v}."), ("When does {s} close?", "What time does {s} close?", "Until when is {s} open?")),
        Field("closed on", _of(*w.DAYS), ("{s} is closed on {v}.", "There is no service at {s} on {v}."), ("On which day is {s} closed?", "When is {s} closed?")),
        Field("address", lambda r: f"{r.randrange(1, 300)} {w.invented(r).capitalize()} {r.choice(('Street', 'Road', 'Lane', 'Square'))}", ("{s} is at {v}.", "The address of {s} is {v}."), ("Where is {s}?", "What is the address of {s}?")),
        Field("owner", w.full_name, ("The owner of {s} is {v}.", "{s} belongs to {v}."), ("Who owns {s}?", "Who is the owner of {s}?", "Who does {s} belong to?")),
        Field("phone", w.phone, ("The phone number of {s} is {v}.", "Call {s} at {v}."), ("What is the phone number of {s}?", "How can I call {s}?")),
        Field("special", lambda r: f"{r.choice(('fresh', 'warm', 'sweet', 'cold', 'free'))} {r.choice(w.FOODS)}", ("The special at {s} is {v}.", "Guests of {s} like {v} best."), ("What is the special at {s}?", "What do guests of {s} like best?")),
    ),
)
TOPICS = (PERSON, EVENT, PLACE, PRODUCT, CREATURE, TRIP, SHOP)


def sheet(rng: Random, topic: Topic | None = None, most: int = 7) -> Sheet:
    """A subject with some of its fields, in random order."""
    topic = topic or rng.choice(TOPICS)
    fields = list(topic.fields)
    rng.shuffle(fields)
    count = rng.randrange(2, min(most, len(fields)) + 1)
    values = tuple((f, f.draw(rng)) for f in fields[:count])
    return Sheet(topic, topic.subject(rng), values, tuple(fields[count:]))


def statement(rng: Random, subject: str, item: tuple[Field, str]) -> str:
    """One field as a full sentence."""
    return cap(pick(rng, *item[0].says, s=subject, v=item[1]))


def question(rng: Random, subject: str, item: Field) -> str:
    """A question that asks for one field."""
    return expand(rng, rng.choice(item.asks), s=subject)


def prose(rng: Random, record: Sheet, alone: bool = False) -> tuple[str, tuple[str, ...]]:
    """The record as sentences, in the order of its values; a record that is `alone` may use a shorter name."""
    short = record.subject
    if alone and rng.random() < 0.5:
        short = record.subject.split()[0] if record.topic is PERSON else "it"
    names = [record.subject] + [short] * (len(record.values) - 1)
    sentences = tuple(statement(rng, n, item) for n, item in zip(names, record.values, strict=True))
    return " ".join(sentences), sentences


def listed(rng: Random, record: Sheet) -> str:
    """The record as a sheet with one field a line."""
    mark = rng.choice(("- {k}: {v}", "{k}: {v}", "* {k}: {v}", "{k} = {v}", "{k}: {v}"))
    up = rng.random() < 0.6
    lines = [mark.format(k=cap(f.key) if up else f.key, v=v) for f, v in record.values]
    return "\n".join([rng.choice(("{s}", "{s}:", "# {s}", "About {s}")).format(s=cap(record.subject)), *lines])


def table(rng: Random, records: list[Sheet]) -> str:
    """Records of one topic that share their fields, as a table."""
    head = ["name", *(f.key for f, _ in records[0].values)]
    rows = [[r.subject.removeprefix("the "), *(v for _, v in r.values)] for r in records]
    bar = rng.choice((" | ", " | ", ", "))
    if bar == " | " and rng.random() < 0.6:
        lines = [head, ["---"] * len(head), *rows]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return "\n".join(bar.join(line) for line in [head, *rows])


def similar(rng: Random, count: int) -> list[Sheet]:
    """Several subjects of one topic with the same fields: the wrong answer is always near."""
    first = sheet(rng, most=5)
    rest: list[Sheet] = []
    while len(rest) < count - 1:
        subject = first.topic.subject(rng)
        if subject not in (first.subject, *(r.subject for r in rest)):
            values = tuple((f, f.draw(rng)) for f, _ in first.values)
            rest.append(Sheet(first.topic, subject, values, first.missing))
    return [first, *rest]


def letter(rng: Random, body: str, sender: str, receiver: str) -> str:
    """The text as an email or a notice."""
    if rng.random() < 0.5:
        opening = pick(rng, "Dear {r},", "Hi {r},", "Hello {r},", "{r},", r=receiver)
        closing = pick(rng, "[Best wishes|Kind regards|See you soon|Thanks|Yours],\n{s}", s=sender)
        return f"{opening}\n\n{body}\n\n{closing}"
    return expand(rng, "[NOTICE|Notice|News|To everyone|Please read|Note]\n\n") + f"{body}\n\n{sender}"
