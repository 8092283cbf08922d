from __future__ import annotations

import random
from typing import NamedTuple

import pytest

from specdec.text.detokenizer import Detokenizer
from specdec.text.output import AnswerText
from specdec.text.tokenizer import Tokenizer


class Released(NamedTuple):
    """What a push has set free, and which stop string had ended the answer by then."""

    pieces: tuple[str, ...]
    stop: str | None


def first_stop(text: str, stops: tuple[str, ...]) -> tuple[int, str] | None:
    """The simple rule: the stop string that starts first, and of those the shortest."""
    found = [(text.find(stop), len(stop), stop) for stop in stops if stop in text]
    return (min(found)[0], min(found)[2]) if found else None


def free_length(text: str, stops: tuple[str, ...]) -> int:
    """How much of a text that is still growing can be shown, found the slow way."""
    free = len(text)
    for stop in stops:
        for start in range(len(text)):
            tail = text[start:]
            if stop.startswith(tail) or tail.startswith(stop):
                free = min(free, start)
    return free


def pick_stops(rng: random.Random, text: str) -> tuple[str, ...]:
    """Strings cut out of the text, some of them with their end changed, so that they nearly match."""
    stops = []
    for _ in range(rng.randrange(4)):
        start = rng.randrange(max(1, len(text)))
        stop = text[start : start + rng.randrange(1, 9)]
        stops.append(stop + rng.choice(["", "", "#", stop[:1]]) or "#")
    return tuple(stops)


def _text(released: Released) -> str:
    return "".join(released.pieces)


def run(tokenizer: Tokenizer, ids: list[int], stops: tuple[str, ...]) -> list[Released]:
    output = AnswerText(tokenizer, stops)
    pushed = [Released(tuple(output.push(token)), output.stop) for token in ids]
    return [*pushed, Released(tuple(output.finish()), output.stop)]


def test_equals_decoding_everything_and_cutting(tokenizer: Tokenizer) -> None:
    stopped = 0
    for seed in range(400):
        rng = random.Random(seed)
        some = rng.sample(range(tokenizer.vocab_size), 12)  # few different tokens, so that stops recur
        ids = [rng.choice(some) for _ in range(rng.randrange(30))]
        text = tokenizer.decode(ids)
        stops = pick_stops(rng, text)
        released = run(tokenizer, ids, stops)
        expected = first_stop(text, stops)
        end, stop = (len(text), None) if expected is None else expected
        assert "".join(_text(r) for r in released) == text[:end], (seed, stops)
        assert released[-1].stop == stop, (seed, stops)
        pieces = [piece for r in released for piece in r.pieces]
        each = [piece for r in run(tokenizer, ids, ()) for piece in r.pieces]
        assert pieces[:-1] == each[: max(0, len(pieces) - 1)], "each token has its own text"
        if expected is None:
            assert len(pieces) == len(ids)
        else:
            stopped += 1
            assert not pieces or pieces[-1]
    assert stopped > 50


def test_shows_all_that_is_free_and_nothing_more(tokenizer: Tokenizer) -> None:
    for seed in range(150):
        rng = random.Random(seed)
        some = rng.sample(range(tokenizer.vocab_size), 8)
        ids = [rng.choice(some) for _ in range(25)]
        stops = pick_stops(rng, tokenizer.decode(ids))
        output, detokenizer = AnswerText(tokenizer, stops), Detokenizer.of(tokenizer)
        shown, known, ends = 0, "", []
        for token in ids:
            pieces = output.push(token)
            if output.stop is not None:
                break
            known += detokenizer.push(token)
            ends.append(len(known))
            shown += sum(map(len, pieces))
            free = free_length(known, stops)
            certain = ends[:-1] if detokenizer.pending else ends
            assert shown == max((end for end in certain if end <= free), default=0), (seed, stops, known)


def test_straddling_stop_is_never_shown(byte_tokenizer: Tokenizer) -> None:
    text = "The answer is 4.\nUser: and more 😀"
    ids = byte_tokenizer.encode_plain(text)
    released = run(byte_tokenizer, ids, ("\nUser:", "more"))
    assert "".join(_text(r) for r in released) == "The answer is 4."
    assert released[-1].stop == "\nUser:"
    assert all(not r.pieces for r in released[[r.stop for r in released].index("\nUser:") + 1 :])


def test_stop_inside_a_token_cuts_it(tokenizers: dict[str, Tokenizer]) -> None:
    tokenizer = tokenizers["words"]
    ids = [tokenizer._fast.token_to_id(word) for word in ("hello", "there", "stopping", "lazy")]
    released = run(tokenizer, ids, ("ping",))
    assert [p for r in released for p in r.pieces] == ["hello", " there", " stop"]


@pytest.mark.parametrize(
    ("stops", "text", "kept", "stop"),
    [
        (("bc", "abcd"), "xabcd", "x", "abcd"),
        (("bc", "abcd"), "xabce", "xa", "bc"),
        (("bc", "abcd"), "xabc", "xa", "bc"),
        (("ab", "abc"), "xabc", "x", "ab"),
        (("aab",), "aaaab", "aa", "aab"),
        (("a",), "a", "", "a"),
        (("ba", "cabb"), "cabacabb", "ca", "ba"),
    ],
)
def test_earliest_start_wins(
    tokenizers: dict[str, Tokenizer], stops: tuple[str, ...], text: str, kept: str, stop: str
) -> None:
    tokenizer = tokenizers["byte_level"]
    ids = [tokenizer._fast.token_to_id(letter) for letter in text]
    released = run(tokenizer, ids, stops)
    assert ("".join(_text(r) for r in released), released[-1].stop) == (kept, stop)


def test_half_a_stop_comes_out_at_the_end(byte_tokenizer: Tokenizer) -> None:
    ids = byte_tokenizer.encode_plain("over\nUs")
    released = run(byte_tokenizer, ids, ("\nUser:",))
    assert "".join(_text(r) for r in released) == "over\nUs"
    assert _text(released[-1]).endswith("\nUs")
    assert released[-1].stop is None


def test_token_with_an_incomplete_character_waits(tokenizers: dict[str, Tokenizer]) -> None:
    tokenizer = tokenizers["byte_level"]
    ids = [tokenizer._fast.token_to_id(t) for t in ("a", "ð", "Ł", "b")]
    output = AnswerText(tokenizer)
    assert [tuple(output.push(i)) for i in ids] == [("a",), (), (), ("", "", "\ufffdb")]
    assert (tuple(output.finish()), output.stop) == ((), None)


def test_incomplete_end_is_shown_at_finish(tokenizers: dict[str, Tokenizer]) -> None:
    tokenizer = tokenizers["byte_level"]
    ids = [tokenizer._fast.token_to_id(t) for t in ("a", "ð")]
    output = AnswerText(tokenizer)
    assert ["".join(output.push(i)) for i in ids] == ["a", ""]
    assert tuple(output.finish()) == ("\ufffd",)


def test_silent_tokens_go_with_the_next_text_or_at_finish(tokenizer: Tokenizer) -> None:
    token = tokenizer.encode_plain("dog")[-1]
    output = AnswerText(tokenizer)
    assert (tuple(output.push(3)), output.stop) == ((), None)
    first, second = output.push(token)
    assert (first, bool(second)) == ("", True)
    assert (tuple(output.push(1)), output.stop) == ((), None)
    assert tuple(output.finish()) == ("",)


def test_silent_tokens_right_before_a_stop_are_dropped(tokenizers: dict[str, Tokenizer]) -> None:
    tokenizer = tokenizers["words"]
    hello, there = (tokenizer._fast.token_to_id(word) for word in ("hello", "there"))
    released = run(tokenizer, [hello, 3, there, hello], (" there",))
    assert [p for r in released for p in r.pieces] == ["hello"]


def test_many_silent_tokens_and_long_stops_stay_cheap(tokenizers: dict[str, Tokenizer]) -> None:
    """Finishes at once when each token costs the same; takes minutes when it costs what is held."""
    tokenizer = tokenizers["byte_level"]
    letter = tokenizer._fast.token_to_id("a")
    released = run(tokenizer, [1] * 100_000, ("a" * 50,))
    assert len(released[-1].pieces) == 100_000
    released = run(tokenizer, [letter] * 60_000, ("a" * 50_000 + "b", "a" * 49_999 + "c"))
    assert sum(len(_text(r)) for r in released) == 60_000
