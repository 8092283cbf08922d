"""`specdec generate --compare` over a scripted engine."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from specdec.cli.answer import print_answer
from specdec.types import Request
from tests.cli.conftest import Loader, Run
from tests.fakes import SCRIPT, ScriptedEngine

ANSWER = "".join(SCRIPT)


def test_both_answers_then_the_table(run: Run) -> None:
    done = run("generate", "Hello", "--compare")
    assert done.exit_code == 0
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert lines == [
        "── plain",
        ANSWER,
        "",
        "── speculative",
        ANSWER,
        "",
        "plain speculative",
        "tokens/s 250.0 650.0",
        "TTFT 10 ms 10 ms",
        "tokens 14 14",
        "acceptance length 2.60",
        "acceptance per position 100% 100%",
        "speed-up 2.60x",
        "identical yes",
    ]


def test_every_position_of_a_block_is_shown(run: Run, loader: Loader) -> None:
    """Also where a table has no room for them."""
    loader.engine = ScriptedEngine(width=14)
    rates = " ".join(["100"] * 12) + " %"
    assert f"acceptance per position {rates}" in " ".join(run("generate", "Hello", "--compare").stdout.split())
    loader.engine = ScriptedEngine(width=14)
    words = ("bench", "--category", "story", "--repeats", "1", "--temperature", "0", "--max-tokens", "14")
    assert f"story, T=0, per position: {rates}\n" in run(*words).stdout


def test_both_sides_have_the_same_seed_and_a_warm_up(run: Run, loader: Loader) -> None:
    run("generate", "Hello", "--compare", "--temperature", "0.8")
    warm, plain, warm_too, speculative = loader.engine.requests
    assert (plain.speculative, speculative.speculative) == ("off", "auto")
    assert (warm.speculative, warm_too.speculative) == ("off", "auto")
    assert plain.sampling == speculative.sampling
    assert plain.sampling.seed is not None
    assert plain.prompt == speculative.prompt


def test_a_difference_is_shown(run: Run, loader: Loader) -> None:
    other = (*SCRIPT[:5], *SCRIPT[6:])
    loader.engine = ScriptedEngine(speculative_script=other)
    assert "no, they part at token 13" in run("generate", "Hello", "--compare").stdout


def test_accepted_tokens_are_coloured_where_there_is_colour() -> None:
    screen = io.StringIO()
    console = Console(file=screen, color_system="standard", force_terminal=True, no_color=False)
    with ScriptedEngine() as engine:
        print_answer(engine, Request.of("x"), console, mark_accepted=True)
    assert screen.getvalue().startswith("Once\x1b[32m upon a\x1b[0m time")


def test_speculation_that_was_off_says_why(run: Run, loader: Loader) -> None:
    loader.engine = ScriptedEngine(width=1, off_reason="drafting costs more than it saves")
    assert "speculation off: drafting costs more" in run("generate", "Hello", "--compare").stdout


def test_without_a_prompt_three_kinds_are_shown(run: Run, loader: Loader) -> None:
    shown = run("generate", "--compare").stdout
    asked = [r.prompt for r in loader.engine.requests if r.id in ("plain", "speculative")]
    assert len(asked) == 6 and asked[::2] == asked[1::2] and len(set(asked)) == 3
    table = [line.split() for line in shown.splitlines() if line.endswith("yes")]
    assert [" ".join(row[:-6]) for row in table] == ["a story", "an edit", "a question over a text"]
    assert shown.count(" (model): 14 tokens in 5 passes\n") == 3
    assert "specdec verify" in shown.splitlines()[-1]


def test_json(run: Run) -> None:
    result = json.loads(run("generate", "Hello", "--compare", "--json").stdout)
    assert result["identical"] is True
    assert result["plain"]["text"] == result["speculative"]["text"] == ANSWER
    assert result["speed_up"] == pytest.approx(2.6)
