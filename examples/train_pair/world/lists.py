"""Lists: making them, sorting them, counting in them, changing them; and simple sums.

Contract: makers take `rng` and return a `Task` whose answer follows from its request alone.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from . import words as w
from .phrase import cap, expand, join_and, pick, sloppy
from .sample import Task

GROUPS: dict[str, tuple[str, ...]] = {
    "fruits": w.FRUITS, "vegetables": w.VEGETABLES, "animals": w.ANIMALS, "colours": w.COLOURS[:11], "jobs": w.JOBS,
    "hobbies": w.HOBBIES, "cities": w.CITIES, "days of the week": w.DAYS, "months": w.MONTHS, "girls' names": w.GIRLS,
    "boys' names": w.BOYS, "foods": w.FOODS, "materials": w.MATERIALS, "things to buy": w.GROCERIES,
    "things in a story": w.THINGS, "names": w.GIRLS + w.BOYS, "colors": w.COLOURS[:11],
}  # fmt: skip
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def shaped(rng: Random, items: list[str], style: str = "") -> str:
    """Items in a list style."""
    style = style or rng.choice(("-", "1", ",", "-", "1"))
    if style == ",":
        return ", ".join(items)
    return "\n".join(f"{f'{i}.' if style == '1' else '-'} {item}" for i, item in enumerate(items, 1))


def items_of(rng: Random, low: int = 3, high: int = 8) -> list[str]:
    """Things of one kind, or invented words."""
    count = rng.randrange(low, high)
    if rng.random() < 0.25:
        return [w.invented(rng) for _ in range(count)]
    group = rng.choice(list(GROUPS.values()))
    return rng.sample(group, min(count, len(group) - 2))


def make_list(rng: Random) -> Task:
    """N things of a kind."""
    group = rng.choice(list(GROUPS))
    count = rng.randrange(2, min(8, len(GROUPS[group])))
    number = NUMBERS[count] if rng.random() < 0.6 else str(count)
    items = rng.sample(GROUPS[group], count)
    if group in ("days of the week", "months"):
        items = list(GROUPS[group][:count])
    request = pick(rng, "[List|Name|Give me|Tell me|Write down] {n} {g}[.|, please.|]", "[Can you|Could you|please] [name|list] {n} {g}?", "Give me a list of {n} {g}.", "I need {n} {g}.", n=number, g=group)
    style = ""
    if rng.random() < 0.25:
        style, words = rng.choice((("-", " Use bullet points."), ("1", " Number them."), (",", " Put commas between them.")))
        request += words
    return Task("list", sloppy(rng, request), shaped(rng, [cap(i) for i in items] if style != "," else items, style))


def shopping(rng: Random) -> Task:
    """A shopping list out of a sentence."""
    items = rng.sample(w.GROCERIES, rng.randrange(2, 8))
    request = pick(rng, "I need [to buy |]{i}. [Make|Write] [a|me a] [shopping |]list.", "Make a [shopping |]list[ with|:| from this:] {i}", "Turn this into a list: {i}", "[Write|Put] these as [bullet points|a list]: {i}", i=join_and(items))
    answer = shaped(rng, items, rng.choice(("-", "-", "1")))
    if rng.random() < 0.5:
        return Task("list", sloppy(rng, request, tuple(items)), answer, quotes=tuple(items))
    marks = answer.split("\n")
    numbered = marks[0].startswith("1")
    new = rng.choice([g for g in w.GROCERIES if g not in items])
    if rng.random() < 0.5:
        after, order = [*items, new], pick(rng, "[Please add|Add|Also add|And] {n}[, please|].", n=new)
    else:
        gone = rng.choice(items)
        after, order = [i for i in items if i != gone], pick(rng, "[Remove|Delete|Take out] {n}[, please|].", n=gone)
    return Task("list", sloppy(rng, request, tuple(items)), answer, ((order, shaped(rng, after, "1" if numbered else "-")),), tuple(items))


def sort_list(rng: Random) -> Task:
    """Items or numbers in order."""
    if rng.random() < 0.4:
        numbers = rng.sample(range(1, rng.choice((20, 100, 1000))), rng.randrange(3, 8))
        down = rng.random() < 0.35
        request = pick(rng, "Sort [these numbers|the numbers|] {way}: {i}", "[Put|Write] these numbers in order {way}: {i}", way=expand(rng, "from [largest to smallest|high to low]" if down else "from [smallest to largest|low to high]"), i=", ".join(map(str, numbers)))
        return Task("list", request, ", ".join(map(str, sorted(numbers, reverse=down))))
    items = items_of(rng)
    request = pick(rng, "[Sort|Order] [these|these words|this list] [alphabetically|in alphabetical order|from A to Z]: {i}", "Put these in alphabetical order: {i}", i=", ".join(items))
    return Task("list", request, ", ".join(sorted(items, key=str.lower)), quotes=tuple(items))


def change_list(rng: Random) -> Task:
    """A given list with one item added, removed, replaced, or the whole turned round."""
    items = items_of(rng)
    style = rng.choice(("-", "1", ","))
    text, new, old = shaped(rng, items, style), rng.choice(w.THINGS), rng.choice(items)
    order, after = rng.choice(
        (
            (f"Add {new} to the end of this list", [*items, new]),
            (f"Add {new} to this list", [*items, new]),
            (f"Put {new} at the top of this list", [new, *items]),
            (f"Remove {old} from this list", [i for i in items if i != old]),
            (f"Take {old} off the list", [i for i in items if i != old]),
            (f"Replace {old} with {new} in this list", [new if i == old else i for i in items]),
            ("Reverse this list", items[::-1]),
        )
    )
    return Task("list", f"{order}:\n{text}" if rng.random() < 0.7 else f"{text}\n\n{order}.", shaped(rng, after, style))


def reshape(rng: Random) -> Task:
    """A list from one style into another."""
    items = items_of(rng)
    old, new = rng.sample(["-", "1", ","], 2)
    words = {"-": "[bullet points|a bullet list]", "1": "a numbered list", ",": "one line, with commas"}[new]
    order = pick(rng, "[Write|Put] this as {s}:", "Turn this into {s}:", "Make this {s}:", s="{s}").replace("{s}", expand(rng, words))
    return Task("list", f"{order}\n{shaped(rng, items, old)}", shaped(rng, items, new), quotes=tuple(items))


def count_list(rng: Random) -> Task:
    """How many items there are, or which comes first, last or n-th."""
    items = items_of(rng)
    text = shaped(rng, items)
    roll = rng.random()
    if roll < 0.4:
        ask = pick(rng, "How many items are [in this list|there]?", "Count the items[ in this list|].")
        answer = pick(rng, "There are {n} items in the list.", "{n}", "The list has {n} items.", n=len(items))
    elif roll < 0.8:
        at = rng.randrange(min(len(items), 4))
        which = ("first", "second", "third", "fourth")[at] if rng.random() < 0.7 else "last"
        item = items[-1 if which == "last" else at]
        ask = pick(rng, "What is the {w} item[ in the list|]?", "Which item is {w}?", w=which)
        answer = pick(rng, "The {w} item is {i}.", "{i}", w=which, i=item)
    else:
        inside = rng.random() < 0.5
        item = rng.choice(items) if inside else rng.choice([t for t in w.THINGS if t not in items])
        ask = pick(rng, "Is {i} [in|on] the list?", i=item)
        answer = f"Yes, {item} is in the list." if inside else f"No, {item} is not in the list."
    return Task("list", f"{ask}\n{text}" if rng.random() < 0.5 else f"{text}\n\n{ask}", answer)


def _sum_text(rng: Random) -> tuple[str, str, int]:
    """A sum as signs, in words, and its result."""
    kind = rng.choice("++--*/")
    a, b = rng.randrange(1, rng.choice((10, 20, 100))), rng.randrange(1, rng.choice((10, 20, 100)))
    if kind == "-":
        a, b = max(a, b), min(a, b)
    if kind in "*/":
        a, b = rng.randrange(1, 13), rng.randrange(1, 11)
    table = {"+": (f"{a} + {b}", f"{a} plus {b}", a + b), "-": (f"{a} - {b}", f"{a} minus {b}", a - b), "*": (f"{a} * {b}", f"{a} times {b}", a * b)}
    return table.get(kind, (f"{a * b} / {b}", f"{a * b} divided by {b}", a))


def sums(rng: Random) -> Task:
    """Simple arithmetic, bare or in a little story."""
    if rng.random() < 0.6:
        signs, words, result = _sum_text(rng)
        request = pick(rng, "[What is|What's|Calculate|How much is|Work out] [{s}|{w}]?", "{s} = ?", "{s}", s=signs, w=words)
        answer = pick(rng, "{s} = {r}", "{s} is {r}.", "{r}", "The answer is {r}.", s=signs, r=result)
        return Task("sums", sloppy(rng, request, keep=("",)), answer)
    who, other, thing = w.name(rng), w.name(rng), rng.choice(w.FRUITS[:7]) + "s"
    thing = {"peachs": "peaches", "cherrys": "cherries"}.get(thing, thing)
    a, b = rng.randrange(2, 60), rng.randrange(1, 40)
    if rng.random() < 0.5:
        request, total, how = f"{who} has {a} {thing}. {other} gives {who} {b} more. How many {thing} does {who} have now?", a + b, f"{a} + {b} = {a + b}"
    else:
        a, b = max(a, b) + 1, min(a, b)
        request, total, how = f"{who} has {a} {thing} and gives {b} to {other}. How many {thing} are left?", a - b, f"{a} - {b} = {a - b}"
    return Task("sums", request, f"{how}. {who} has {total} {thing}." if rng.random() < 0.7 else f"{total} {thing}.")


def compare(rng: Random) -> Task:
    """Which of two is bigger, older, cheaper; or an even number."""
    a, b = rng.sample(range(1, 100), 2)
    roll = rng.random()
    if roll < 0.4:
        return Task("sums", sloppy(rng, f"Which is {(word := rng.choice(('bigger', 'smaller')))}, {a} or {b}?"), f"{max(a, b) if word == 'bigger' else min(a, b)} is {word}.")
    if roll < 0.6:
        return Task("sums", sloppy(rng, f"Is {a} {(even := rng.choice(('even', 'odd')))}?"), f"{'Yes' if (a % 2 == 0) == (even == 'even') else 'No'}, {a} is {'even' if a % 2 == 0 else 'odd'}.")
    one, two = w.name(rng), w.name(rng)
    if one == two:
        return sums(rng)
    return Task("sums", f"{one} is {a} years old and {two} is {b}. Who is older?", f"{one if a > b else two} is older.")


def numbers_up(rng: Random) -> Task:
    """Counting from one number to another."""
    low = rng.randrange(1, 30)
    high = low + rng.randrange(2, 12)
    request = pick(rng, "Count from {a} to {b}.", "[Write|List] the numbers from {a} to {b}.", a=low, b=high)
    return Task("list", sloppy(rng, request), ", ".join(str(i) for i in range(low, high + 1)))


def idea_list(rng: Random) -> Task:
    """A few suggestions for an everyday wish."""
    wish, ideas = rng.choice(list(IDEAS.items()))
    count = rng.randrange(2, 6)
    request = pick(rng, "Give me {n} ideas for {w}.", "[What can I do|Any ideas|Do you have tips] for {w}?", "I need [some |]ideas for {w}.", "List {n} [tips|ideas] for {w}.", n=NUMBERS[count], w=wish)
    count = count if any(f" {NUMBERS[count]} " in request for _ in [0]) else 3
    lead = pick(rng, "", "", "Here are [some|a few] ideas:\n", "[Sure|Of course]! ") if rng.random() < 0.5 else ""
    lead = "" if lead.endswith("! ") else lead
    return Task("list", sloppy(rng, request), lead + shaped(rng, rng.sample(ideas, count), rng.choice(("-", "1"))))


IDEAS: dict[str, tuple[str, ...]] = {
    "a rainy day": ("Read a good book.", "Bake a cake.", "Play a board game.", "Draw a picture.", "Write a letter to a friend.", "Watch a film.", "Clean one drawer.", "Listen to the rain."),
    "a birthday party": ("Bake a cake with candles.", "Play music and dance.", "Hang up paper lanterns.", "Invite your best friends.", "Play a guessing game.", "Make a card by hand.", "Have a picnic in the park."),
    "a gift for a friend": ("A book you both like.", "A plant in a pretty pot.", "A warm scarf.", "A box of cookies that you baked.", "A photo of the two of you.", "A ticket to a concert.", "A letter by hand."),
    "sleeping well": ("Go to bed at the same time each day.", "Keep the room dark and cool.", "Put your phone away early.", "Drink warm milk or tea.", "Read a few pages.", "Take a short walk in the evening."),
    "learning a language": ("Learn five words every day.", "Listen to songs.", "Read easy stories.", "Talk with a friend.", "Write a short diary.", "Repeat the words aloud."),
    "a healthy breakfast": ("Oats with fruit.", "Eggs on toast.", "Yogurt with nuts and honey.", "Bread with cheese and tomato.", "A banana and a glass of milk.", "Rice with vegetables."),
    "a picnic": ("Take bread, cheese and fruit.", "Bring a blanket.", "Pack something to drink.", "Find a place in the shade.", "Bring a ball to play with.", "Take a bag for the rubbish."),
    "saving money": ("Write down what you buy.", "Cook at home.", "Make a list before you shop.", "Walk or take the bus.", "Wait a day before you buy something big.", "Repair old things."),
    "a weekend": ("Visit a museum.", "Go for a long walk.", "Cook something new.", "Meet a friend.", "Read in the park.", "Tidy up your room.", "Take the train to another town."),
}  # fmt: skip

Maker = Callable[[Random], Task]
MAKERS: tuple[tuple[Maker, float], ...] = (
    (make_list, 3.0), (shopping, 2.0), (sort_list, 1.5), (change_list, 2.0), (reshape, 1.5), (count_list, 1.0), (numbers_up, 0.5), (idea_list, 1.5),
)  # fmt: skip
SUMS: tuple[tuple[Maker, float], ...] = ((sums, 3.0), (compare, 1.0))


def lists(rng: Random) -> Task:
    """Something with a list."""
    return rng.choices(MAKERS, [x for _, x in MAKERS])[0][0](rng)


def arithmetic(rng: Random) -> Task:
    """Something with numbers."""
    return rng.choices(SUMS, [x for _, x in SUMS])[0][0](rng)
