"""What the chat offers by itself: told once, done by a key, and in nobody's way."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from specdec.training.options import DEFAULT_MINUTES
from specdec.types import DrafterStats, Message, PublishedDraft, SpecStats
from specdec_tui.core.monitor import context_used
from specdec_tui.core.offers import of_context, of_training
from specdec_tui.screens.chat import SUMMARISE
from specdec_tui.widgets.offer import OfferLine
from tests.fakes import SCRIPT, SCRIPTED_INFO, ScriptedEngine
from tests.specdec_tui.running import Driver, Garage, running

STORY = "".join(SCRIPT)
HEAD = PublishedDraft("lab/scripted-head", 2.1, "MIT", "maths and code")


def _offered(chat: Driver) -> bool:
    return bool(chat.app.screen.query_one(OfferLine).display)


async def test_a_published_draft_is_fetched_and_loaded_by_a_key() -> None:
    garage = Garage(ScriptedEngine(info=replace(SCRIPTED_INFO, published_draft=HEAD)), ScriptedEngine())
    async with running(garage=garage) as chat:
        await chat.until(lambda: _offered(chat))
        assert "lab/scripted-head (2.1 GB; licence: MIT; maths and code)" in chat.text_of(OfferLine)
        await chat.pilot.press(*"hello")
        assert chat.app.main.prompt.text == "hello", "it takes nobody's keys"
        await chat.pilot.press("f9")
        await chat.until(lambda: len(garage.choices) == 2)
        assert garage.choices[1].draft == "lab/scripted-head"
        assert not _offered(chat)


async def test_what_is_left_is_not_offered_again() -> None:
    async with running(ScriptedEngine(info=replace(SCRIPTED_INFO, published_draft=HEAD))) as chat:
        await chat.until(lambda: _offered(chat))
        await chat.pilot.press("escape")
        assert not _offered(chat)
        await chat.app.main.engine_loaded()
        assert not _offered(chat)
        await chat.pilot.press("f9")
        assert chat.app.screen is chat.app.main


@pytest.mark.parametrize(
    ("drafter", "looked", "accepted", "says"),
    [
        ("model", 400, 124, "agrees with 31% of the target's tokens"),
        ("model", 400, 300, None),
        ("model", 40, 4, None),
        ("lookup", 400, 4, None),
    ],
)
def test_another_draft_is_offered_where_one_seldom_agrees(
    drafter: str, looked: int, accepted: int, says: str | None
) -> None:
    stats = SpecStats(looked, (DrafterStats(drafter, (looked, looked), (accepted, 0), (looked, accepted)),))
    offer = of_training(replace(SCRIPTED_INFO, device="cuda"), stats)
    assert (offer is not None) == (says is not None)
    if offer and says:
        assert says in offer.text
        assert f"one that fits, in as many minutes as you give it ({DEFAULT_MINUTES:g} unless you say)" in offer.text
        assert "one that fits on a machine with a GPU, in" in str(of_training(SCRIPTED_INFO, stats))


async def test_the_command_that_trains_is_copied() -> None:
    async with running(ScriptedEngine()) as chat:
        await chat.ready()
        await chat.enter("/train")
        await chat.until(lambda: chat.toasts)
        assert chat.app.clipboard == "specdec train bundled --out bundled-head"
        assert any("then /draft bundled-head" in said for said in chat.toasts)


def test_a_context_is_spoken_of_before_it_is_full() -> None:
    assert of_context("a", 1599, 2000) is None
    first, second = of_context("a", 1600, 2000), of_context("a", 1920, 2000)
    assert first and second
    assert "80%" in first.text
    assert (first.command, second.command) == ("/summary", "/trim"), "a summary has to fit in"
    assert first.key != second.key
    assert of_context("a", 10, 0) is None


async def test_a_chat_goes_on_with_a_summary_of_itself(tmp_path: Path) -> None:
    engine = ScriptedEngine(info=replace(SCRIPTED_INFO, context=2000))
    async with running(engine, database=tmp_path / "sessions.db") as chat:
        await chat.ready()
        await chat.until(lambda: chat.app.store)
        await chat.enter("/system Be brief.")
        await chat.ask("A question that is long enough to fill it " * 38)
        await chat.until(lambda: _offered(chat))
        assert "of the context" in chat.text_of(OfferLine)
        before = chat.app.main.chat
        await chat.pilot.press("f9")
        await chat.until(lambda: chat.app.main.chat is not before)
        assert [t.text for t in before.conversation.path()][-2:] == [SUMMARISE, STORY]
        assert not chat.texts
        await chat.ask("Go on")
        system = engine.requests[-1].prompt[0]
        assert isinstance(system, Message)
        assert system.content == f"Be brief.\n\nWhat was said before, in short:\n{STORY}"
        titles = [session.title for session in chat.app.store.sessions()]  # type: ignore[union-attr]
        assert titles == [f"{before.title} (continued)", before.title]


async def test_a_summary_that_has_no_room_is_refused_before_it_is_asked_for() -> None:
    engine = ScriptedEngine(info=replace(SCRIPTED_INFO, context=60))
    async with running(engine) as chat:
        await chat.ready()
        await chat.ask("A question that is long enough to fill it")
        await chat.until(lambda: _offered(chat))
        await chat.enter("/summary")
        await chat.until(lambda: any("/trim makes some" in said for said in chat.toasts))
        assert len(engine.requests) == 1


async def test_a_chat_goes_on_without_its_older_half(tmp_path: Path) -> None:
    async with running(ScriptedEngine(), database=tmp_path / "sessions.db") as chat:
        await chat.ready()
        await chat.until(lambda: chat.app.store)
        await chat.ask("One")
        await chat.enter("/trim")
        await chat.until(lambda: any("two prompts or more" in said for said in chat.toasts))
        for text in ("Two", "Three", "Four"):
            await chat.ask(text)
        before = chat.app.main.chat
        used = context_used(before.conversation)
        await chat.enter("/trim")
        await chat.until(lambda: chat.texts == ["Three", STORY, "Four", STORY])
        assert context_used(chat.app.main.chat.conversation) < used
        assert chat.app.store
        saved = {s.title: chat.app.store.load(s.id) for s in chat.app.store.sessions()}
        lengths = {title: len(session.conversation) for title, session in saved.items() if session}
        assert lengths == {"One": 8, "One (continued)": 4}
        await chat.ask("Five")
        assert before.id != chat.app.main.chat.id
