"""Phrases with choices in them, and the ways people really type.

Contract: `expand` turns "[Hi|Hello], {name}" into one phrase: brackets choose (and may nest), braces are filled from
keyword values. `sloppy` makes a request look typed in a hurry and never changes what it asks for.
"""

from __future__ import annotations

from functools import cache
from random import Random

Piece = str | tuple["Phrase", ...]
Phrase = tuple[Piece, ...]


def _parse(text: str, at: int, inside: bool) -> tuple[tuple[Phrase, ...], int]:
    """Alternatives from `at` to the closing bracket (or the end), and where reading stopped."""
    options: list[Phrase] = []
    pieces: list[Piece] = []
    start = at
    while at < len(text):
        mark = text[at]
        if mark not in "[|]" or (mark == "|" and not inside):
            at += 1
            continue
        pieces.append(text[start:at])
        at += 1
        if mark == "[":
            choice, at = _parse(text, at, True)
            pieces.append(choice)
        else:
            options.append(tuple(pieces))
            pieces = []
            if mark == "]":
                return tuple(options), at
        start = at
    pieces.append(text[start:])
    return (*options, tuple(pieces)), at


@cache
def _parsed(text: str) -> Phrase:
    return _parse(text, 0, False)[0][0]


def _choose(rng: Random, phrase: Phrase, out: list[str]) -> None:
    for piece in phrase:
        if isinstance(piece, str):
            out.append(piece)
        else:
            _choose(rng, piece[int(rng.random() * len(piece))], out)


def expand(rng: Random, template: str, **values: object) -> str:
    """One phrase out of a template."""
    out: list[str] = []
    _choose(rng, _parsed(template), out)
    text = "".join(out)
    return text.format_map(values) if values else text


def pick(rng: Random, *templates: str, **values: object) -> str:
    """One of several templates, expanded."""
    return expand(rng, templates[int(rng.random() * len(templates))], **values)


def cap(text: str) -> str:
    """The text with a capital first letter."""
    return text[:1].upper() + text[1:]


def an(noun: str) -> str:
    """The noun with its indefinite article."""
    return f"{'an' if noun[0].lower() in 'aeiou' else 'a'} {noun}"


def join_and(items: list[str]) -> str:
    """Items as people say them: "a, b and c"."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def typo(rng: Random, word: str) -> str:
    """The word with two inner letters swapped, one doubled, or one dropped."""
    if len(word) < 4:
        return word
    at = rng.randrange(1, len(word) - 1)
    return rng.choice(
        [
            word[:at] + word[at + 1] + word[at] + word[at + 2 :],
            word[:at] + word[at] + word[at:],
            word[:at] + word[at + 1 :],
        ]
    )


HELLO = "[hi|hello|hey|good morning|good evening|hi there|hey there|hello there]"


def sloppy(rng: Random, request: str, keep: tuple[str, ...] = ()) -> str:
    """The request as a hurried person would type it; words that contain something in `keep` stay as they are."""
    roll = rng.random()
    if roll < 0.12:
        request = _typed_badly(rng, request, keep)
    if rng.random() < 0.2 and not keep:
        request = request.lower()
    if rng.random() < 0.2:
        request = request.rstrip(".?!")
    if rng.random() < 0.12:
        hello = expand(rng, HELLO)
        request = f"{cap(hello) if rng.random() < 0.7 else hello}{rng.choice((', ', '! ', '. '))}{request}"
    if rng.random() < 0.08:
        request += expand(rng, "[ Thanks!| Thank you.| thanks| Please.| pls]")
    return request


def _typed_badly(rng: Random, request: str, keep: tuple[str, ...]) -> str:
    words = request.split(" ")
    at = rng.randrange(len(words))
    if words[at].isalpha() and words[at].islower() and not any(words[at] in k for k in keep):
        words[at] = typo(rng, words[at])
    return " ".join(words)
