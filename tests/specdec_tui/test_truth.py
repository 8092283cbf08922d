"""What the chat shows is true: each figure belongs to the answer beside it, and what is not known is not shown."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import replace
from typing import Any

import pytest
from textual.content import Content
from textual.widgets import Digits

from specdec.errors import InvalidRequest
from specdec.types import EngineStats, Message, Request, Round, SpecStats, Speculation
from specdec_tui.core.config import Config, ScreenConfig
from specdec_tui.core.conversation import Conversation
from specdec_tui.core.gauge import Gauge, GaugeState, Pace, Reading
from specdec_tui.core.monitor import context_used
from specdec_tui.screens.compare import CompareScreen
from specdec_tui.widgets.gauge_body import full
from specdec_tui.widgets.table_block import TableLines
from specdec_tui.widgets.tables import Table
from tests.fakes import ScriptedEngine
from tests.remote.scripted import Exchange, ScriptedServer, untold
from tests.specdec_tui.events import event, token
from tests.specdec_tui.running import Driver, running
from tests.specdec_tui.test_url import chat_with

FULL = Config(screen=ScreenConfig(gauge="full"))


def _figures(chat: Driver) -> str:
    """Of the panel, each space once: where they stand is the pictures' matter."""
    return " ".join(chat.text_of("GaugePanel #body").split())


def _round(drafted: int, accepted: int, seconds: float) -> Round:
    return Round("model" if drafted else None, tuple(range(drafted)), accepted, 0.0, seconds)


def test_the_speed_up_is_of_the_whole_answer() -> None:
    """Its last round, or the controller's best, may be far from it."""
    gauge = Gauge(0.0)
    for _ in range(4):
        gauge.add(replace(event([token("a")]), round=_round(0, 0, 0.010)), 0.1)
    for _ in range(4):
        gauge.add(replace(event([token("a")] * 2), round=_round(4, 1, 0.012)), 0.1)
    # 12 tokens in 88 ms; plain ones would have taken 120
    assert gauge.read(1.0, plain_rate=1.0).speed_up == pytest.approx(120 / 88)


def test_the_speed_up_is_never_above_the_acceptance_length() -> None:
    gauge = Gauge(0.0)
    for accepted in (1, 0, 0, 0):
        gauge.add(replace(event([token("a")] * (1 + accepted)), round=_round(4, accepted, 0.001)), 0.1)
    assert gauge.read(1.0, plain_rate=1.0).speed_up == pytest.approx(1 + 1 / 4)
    assert gauge.read(1.0).speed_up is None, "what a plain token takes is not known"
    assert Pace(5, 1.0).speed_up(SpecStats(5), 10.0) is None, "nothing was drafted"


def test_a_stopped_answer_takes_its_part_of_the_context() -> None:
    talk = Conversation()
    told = talk.add(Message("assistant", "Hello"), None, prompt_tokens=5, tokens=2)
    asked = talk.add(Message("user", "Tell me a story about a fox."), told.id)
    stopped = talk.add(Message("assistant", "Once"), asked.id, "cancelled", tokens=4)
    talk.add(Message("assistant", "Then"), stopped.id, "running", tokens=3)
    assert context_used(talk) == 5 + 2 + 28 // 4 + 4


def test_a_few_rounds_say_nothing_of_a_speed_up() -> None:
    gauge = Gauge(0.0)
    for rounds in range(1, 5):
        gauge.add(replace(event([token("a")] * 2), round=_round(4, 1, 0.012)), 0.1)
        assert (gauge.read(1.0, plain_rate=50.0).speed_up is None) == (rounds < 4)


def test_off_is_only_what_had_no_drafts() -> None:
    decided = Speculation(why="nothing to draft from")
    idle = GaugeState(engine=EngineStats(speculation=decided))
    assert idle.off is None, "no answer yet"
    drafted = Reading.of({"rounds": 5, "drafted": 9, "accepted": 4})
    assert GaugeState(replace(drafted, stats=replace(drafted.stats, speculation=decided))).off is None
    assert GaugeState(Reading(stats=SpecStats(5, (), decided))).off == "nothing to draft from"


def test_what_is_not_known_is_no_zero() -> None:
    silent = Speculation(why="unknown", detail="the server does not say")
    text = full(GaugeState(Reading(tokens=9, stats=SpecStats(0, (), silent))), 34).plain
    assert "acceptance – length –" in " ".join(text.split())
    assert "unknown: the server does not say" in text
    assert not any(wrong in text for wrong in ("0%", "1.00", "0 B", "Rounds", "KV"))


async def test_what_our_server_says_reaches_the_gauge() -> None:
    server = ScriptedServer("ours", speculates=True)
    async with chat_with(server) as chat:
        await chat.ask("Tell me")
        await chat.until(lambda: "accepted" in _figures(chat))
        assert "acceptance 100% length 3.00" in _figures(chat)
        assert "rounds 4 by model 8" in _figures(chat)
        assert "KV" not in _figures(chat)
        assert not chat.app.screen.query_one("GaugePanel #note").display


async def test_both_sides_of_a_comparison_leave_recent_answers_alone() -> None:
    server = ScriptedServer("ours", speculates=True)
    async with chat_with(server) as chat:
        await chat.ask("Tell me")
        await _compare(chat)
        assert [exchange.body.get("remember") for exchange in server.seen] == [None, None, False, None, False]
        assert "cannot be told" not in chat.text_of("#verdict")


async def test_a_server_that_cannot_be_told_may_know_the_answer() -> None:
    async with chat_with(ScriptedServer("vllm")) as chat:
        await chat.ask("Tell me")
        await _compare(chat)
        assert "cannot be told to forget" in chat.text_of("#verdict")


async def _compare(chat: Driver) -> None:
    await chat.compare()
    await chat.until(lambda: isinstance(chat.app.screen, CompareScreen))
    await chat.until(lambda: "identical" in chat.text_of("#verdict") or "part" in chat.text_of("#verdict"))


async def test_without_token_ids_usage_counts_and_the_speed_is_marked_until_then() -> None:
    go_on = threading.Event()

    async def slow(exchange: Exchange) -> None:
        await exchange.begin()
        await exchange.send({"choices": [{"index": 0, "delta": {"content": "twenty letters in it"}}]})
        await asyncio.to_thread(go_on.wait)
        await exchange.send({"choices": [{"index": 0, "delta": {"content": "!"}, "finish_reason": "stop"}]})
        await exchange.send({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 9}})
        await exchange.send("[DONE]")
        await exchange.end()

    server = ScriptedServer("llamacpp")
    server.answers.append(slow)
    async with chat_with(server) as chat:
        await chat.enter("Tell me")
        await chat.until(lambda: "tokens ≈5" in _figures(chat))
        assert "estimated from the text" in chat.text_of("GaugePanel #unit")
        go_on.set()
        await chat.until(lambda: chat.answered)
        await chat.until(lambda: "tokens 9" in _figures(chat))
        assert "≈" not in _figures(chat)
        assert chat.app.main.chat.conversation.path()[-1].figures["tokens"] == 9


async def test_a_call_that_was_held_back_has_no_speed() -> None:
    """Its name in one chunk, its arguments in another: many servers send calls so, once they are whole."""
    go_on = threading.Event()

    async def call(exchange: Exchange) -> None:
        await exchange.begin()
        parts: list[dict[str, object]] = [
            {"id": "c1", "function": {"name": "list_files"}},
            {"function": {"arguments": '{"path": "' + "a/" * 200 + '"}'}},
        ]
        for part in parts:
            delta = {"tool_calls": [{"index": 0, **part}]}
            await exchange.send({"choices": [{"index": 0, "delta": delta}]})
        await asyncio.to_thread(go_on.wait)
        await exchange.send({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})
        await exchange.send({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 90}})
        await exchange.send("[DONE]")
        await exchange.end()

    server = ScriptedServer("llamacpp")
    server.answers.append(call)
    async with chat_with(server) as chat:
        await chat.enter("List them")
        await chat.until(lambda: "tokens ≈" in _figures(chat))
        digits = chat.app.screen.query_one("GaugePanel Digits", Digits)
        assert (digits.value, "mean –" in _figures(chat)) == ("–", True)
        go_on.set()
        await chat.until(lambda: chat.answered)
        await chat.until(lambda: "tokens 90" in _figures(chat))
        assert (digits.value, "mean –" in _figures(chat)) == ("–", True)


async def test_a_prompt_and_a_context_of_unknown_length_are_no_numbers() -> None:
    server = ScriptedServer("unknown", models=[{"id": "story"}])
    server.answers.append(untold)
    async with chat_with(server) as chat:
        await chat.enter("Tell me")
        await chat.until(lambda: chat.answered)
        await chat.until(lambda: "Prompt –" in _figures(chat))
        assert "context unknown" in chat.text_of("Status #context")
        figures = chat.app.main.chat.conversation.path()[-1].figures
        assert figures.keys().isdisjoint({"prompt_tokens", "cached_tokens", "rounds", "drafted", "accepted"})
        await chat.compare()
        await chat.until(lambda: "told to answer without speculation" in chat.text_of("#problem"))
        await chat.pilot.press("ctrl+t")
        await chat.until(lambda: "Of a server that sends no token ids there are none" in chat.text_of("#detail"))


async def test_a_comparison_of_answers_that_nobody_counted_has_no_factor() -> None:
    server = ScriptedServer("vllm")
    server.answers.extend([untold] * 5)  # each side has a short answer before it
    async with chat_with(server) as chat:
        await chat.enter("Tell me")
        await chat.until(lambda: chat.answered)
        await _compare(chat)
        assert chat.text_of("#verdict").startswith("speed-up unknown   identical")


class _Picky(ScriptedEngine):
    """Refuses what it is asked to."""

    def astream(self, prompt: Request | Any, **options: Any) -> Any:
        if isinstance(prompt, Request) and "no" in str(prompt.prompt[-1]):
            raise InvalidRequest("prompt", "5000 tokens", "at most 256")
        return super().astream(prompt, **options)


async def test_the_gauge_stands_beside_its_answer() -> None:
    async with running(_Picky(), config=FULL) as chat:
        await chat.ready()
        await chat.ask("Hello")
        await chat.until(lambda: "tokens 14" in _figures(chat))
        before = _figures(chat)
        await chat.enter("no")
        await chat.until(lambda: chat.toasts and not chat.app.main.running)
        await chat.pilot.pause(0.6)
        assert _figures(chat) == before, "a refused request is no answer"
        await _compare(chat)
        await chat.pilot.press("escape")
        await chat.until(lambda: "speed-up 2.60x" in _figures(chat))
        await chat.enter("/set max_tokens 5")
        await chat.ask("Again")
        await chat.until(lambda: "tokens 5" in _figures(chat))
        assert "speed-up 2.60x" not in _figures(chat)


async def test_a_gauge_that_comes_into_sight_shows_this_answer() -> None:
    async with running(ScriptedEngine(), size=(80, 30), config=FULL) as chat:
        await chat.ready()
        await chat.ask("Hello")
        await chat.until(lambda: "14 tokens" in chat.text_of("GaugeStrip #lines"))
        await chat.pilot.resize_terminal(130, 40)
        await chat.until(lambda: "tokens 14" in _figures(chat))


@pytest.mark.parametrize(
    "text",
    ["if a<b and c>d", "a List<String> here", "<div>a box</div>", "<br>", r"so \[x^2 + y_1 * z_2\] is", r"\(a_1 b_2\)"],
)
async def test_markup_in_an_answer_is_literal(text: str) -> None:
    async with running(ScriptedEngine([text])) as chat:
        await chat.ready()
        await chat.ask("Show me")
        await chat.until(lambda: text in _shown(chat))


def _shown(chat: Driver) -> str:
    return "".join(str(w.render()) for w in chat.app.screen.query("AnswerMarkdown MarkdownParagraph"))


TABLE = """\
| Language | Year | For |
|---|---:|:-:|
| Python | 1991 | everything that fits in a notebook |
| C | 1972 | os |
"""


@pytest.mark.parametrize("width", [120, 60, 30, 20])
async def test_every_cell_of_a_table_can_be_read(width: int) -> None:
    async with running(ScriptedEngine([TABLE]), size=(width, 40)) as chat:
        await chat.ready()
        await chat.ask("Show me")
        table = chat.app.screen.query_one(TableLines)
        await chat.until(lambda: "1972" in table.text)
        drawn = table.text
        for word in ("Language", "Year", "Python", "1991", "everything", "notebook", "1972"):
            assert word in drawn
        assert max(map(len, drawn.splitlines())) <= table.size.width
        assert table.size.height == len(drawn.splitlines())


def _laid(table: Table, width: int) -> list[Content]:
    widths = table.widths(width)
    return table.lines([table.lay(row, width, widths) for row in table.rows], width, widths)


def test_columns_keep_their_side() -> None:
    cells = [[Content(word) for word in row] for row in (["a", "12345"], ["b", "1"])]
    lines = _laid(Table([Content("x"), Content("y")], cells, ["left", "right"]), 40)
    assert {line.cell_length for line in lines} == {9}
    assert [line.plain for line in lines] == ["x │     y", "──┼──────", "a │ 12345", "b │     1"]


def test_a_large_table_is_laid_out_at_once() -> None:
    rows = [[Content(f"cell {r} {c} with some words to wrap") for c in range(5)] for r in range(40)]
    began = time.thread_time()
    _laid(Table([Content(f"head {c}") for c in range(5)], rows, ["left"] * 5), 90)
    assert time.thread_time() - began < 0.5, "keys wait for it"
