"""A chat from prompt to answer, over a scripted engine."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from textual.message import Message as TextualMessage
from textual.widgets import Markdown

from specdec.errors import EngineFailed, InvalidRequest
from specdec.types import EngineStats, GenerationEvent, Message, ReasoningDelta, Request, Speculation, ToolCallDelta
from specdec_tui.app import ChatApp
from specdec_tui.core.gauge import GaugeState
from specdec_tui.core.tokenlog import TokenLog
from specdec_tui.widgets.calls import Calls
from specdec_tui.widgets.prompt import Prompt
from specdec_tui.widgets.reasoning import Reasoning
from specdec_tui.widgets.transcript import Earlier, Transcript
from specdec_tui.widgets.turn import AnswerView, PromptView, TurnView
from tests.fakes import SCRIPT, SCRIPTED_INFO, ScriptedEngine
from tests.specdec_tui.running import Garage, running, words

STORY = "".join(SCRIPT)


def _sources(app: object) -> list[str]:
    return [m.source for m in app.screen.query(Markdown)]  # type: ignore[attr-defined]


async def test_an_answer_comes_and_says_how() -> None:
    async with running(ScriptedEngine()) as chat:
        await chat.ready()
        await chat.ask("Tell me a story.")
        assert _sources(chat.app) == [STORY]
        line = "tokens/s · acceptance 100%, length 2.60 · 14 tokens · TTFT 10.0 ms"
        await chat.until(lambda: line in chat.text_of("AnswerView .meta"))
        assert chat.app.main.prompt.text == ""
        assert "Tell me a story." in chat.text_of("#title")


async def test_what_the_engine_says_of_itself_is_asked_again_after_an_answer() -> None:
    """An answer may be over before the next look, and before the first round nothing was decided."""
    engine = ScriptedEngine()
    engine._stats = replace(engine._stats, speculation=Speculation())
    async with running(engine) as chat:
        await chat.ready()
        assert GaugeState(engine=EngineStats(speculation=Speculation())).off is None
        engine._stats = replace(engine._stats, speculation=Speculation(True, "pays", ("model",), 3, 100.0, 250.0))
        await chat.ask("Tell me a story.")
        await chat.until(lambda: chat.app.main.monitor.stats == engine.stats())


async def test_the_second_prompt_carries_the_first() -> None:
    engine = ScriptedEngine()
    async with running(engine) as chat:
        await chat.ready()
        await chat.ask("One")
        await chat.ask("Two")
    assert [m.content for m in engine.requests[1].prompt if isinstance(m, Message)] == ["One", STORY, "Two"]


async def test_a_prompt_before_the_engine_is_ready_waits_for_it() -> None:
    engine = ScriptedEngine()
    async with running(engine) as chat:
        await chat.ask("At once")
        assert chat.texts == ["At once", STORY]


async def test_escape_stops_at_once_and_keeps_what_came() -> None:
    engine = ScriptedEngine(hold=2)
    async with running(engine) as chat:
        await chat.ready()
        await chat.enter("Go on")
        await chat.until(lambda: chat.app.main.generation and chat.app.main.generation.gauge.tokens == 4)
        await chat.pilot.press("escape")
        await chat.until(lambda: chat.answered)
        assert chat.app.main.chat.conversation.path()[-1].state == "cancelled"
        assert chat.texts[-1] == "Once upon a time"
        await chat.until(lambda: "stopped by you" in chat.text_of("AnswerView .failed"))
        assert engine.stats().active == 0
        engine.go_on()


class Beside(ScriptedEngine):
    """As one that decodes on the cores that draw."""

    pid = 1


@pytest.mark.parametrize(("engine", "beside"), [(ScriptedEngine(hold=2), False), (Beside(hold=2), True)])
async def test_the_screen_is_calm_while_it_shares_its_cores(engine: ScriptedEngine, beside: bool) -> None:
    async with running(engine) as chat:
        await chat.ready()
        await chat.enter("Go on")
        await chat.until(lambda: chat.app.main.generation and chat.app.main.generation.gauge.tokens == 4)
        assert chat.app.main.prompt.cursor_blink is not beside
        assert _drawn_again(chat.app) is not beside
        await chat.pilot.press("escape")
        await chat.until(lambda: chat.answered)
        assert chat.app.main.prompt.cursor_blink


def _drawn_again(app: ChatApp) -> bool:
    """Whether the gauge is, just after it was drawn, when it has changed."""
    main, monitor, drawn = app.main, app.main.monitor, []
    for since in (0, 60):
        now = time.perf_counter()
        monitor._shown, monitor._drawn = None, now - since
        arguments = (now, app.engines.engine, main.chat.conversation, main.generation)
        drawn.append(monitor.changed(*arguments, beside_frame=True))
    assert drawn[1], "the gauge stands still"
    return drawn[0] is not None


async def test_thoughts_and_tokens_come_in_frames_as_text_does() -> None:
    """A model that thinks is not drawn with every token of its thoughts; what came last is there all the same."""
    engine = Beside(words("<think>one two three four</think>Done"), hold=2)
    async with running(engine) as chat:
        await chat.ready()
        await chat.enter("Think")
        main = chat.app.main
        await chat.until(lambda: main.generation and main.generation.answer.reasoning)
        view, generation = main.transcript.query_one(AnswerView), main.generation
        assert generation
        drawn = []
        for seconds in (0.0, 0.01, 60.0):
            generation.answer.reasoning += " more"
            drawn.append(await view.draw(generation, time.perf_counter() + 60.0 + seconds))
        assert drawn == [True, False, True]
        await chat.pilot.press("ctrl+t")
        engine.go_on()
        await chat.until(lambda: chat.answered)
        assert main.pane and main.pane.tokens.entries == len(generation.log.entries)


async def test_escape_before_the_first_token_gives_the_prompt_back() -> None:
    engine = ScriptedEngine(hold=0)
    async with running(engine) as chat:
        await chat.ready()
        await chat.enter("Wait")
        await chat.until(lambda: engine.requests)
        await chat.pilot.press("escape")
        await chat.until(lambda: chat.app.main.prompt.text == "Wait")
        assert chat.texts == []
        engine.go_on()


async def test_answering_again_makes_a_branch_and_keys_go_through_them() -> None:
    async with running(ScriptedEngine()) as chat:
        await chat.ready()
        await chat.ask("One")
        await chat.pilot.press("f7")
        await chat.until(lambda: len(chat.app.main.chat.conversation) == 3 and chat.answered)
        assert chat.app.main.chat.conversation.head == 3
        await chat.until(lambda: "‹ 2/2 ›" in chat.text_of("AnswerView .meta"))
        chat.app.screen.query_one(AnswerView).focus()
        await chat.pilot.press("left_square_bracket")
        await chat.until(lambda: chat.app.main.chat.conversation.head == 2)
        await chat.until(lambda: "‹ 1/2 ›" in chat.text_of("AnswerView .meta"))


async def test_a_turn_is_not_answered_again_while_an_answer_comes() -> None:
    async with running(ScriptedEngine(hold=2)) as chat:
        await chat.ready()
        await chat.enter("One")
        await chat.until(lambda: chat.app.main.generation and chat.app.main.generation.gauge.tokens == 4)
        chat.app.screen.query_one(AnswerView).focus()
        await chat.pilot.press("r")
        await chat.until(lambda: chat.toasts)
        assert chat.toasts == ["retry is 'now'; expected no answer under way; Esc stops it"]
        assert chat.app.main.running


async def test_editing_a_past_prompt_branches() -> None:
    engine = ScriptedEngine()
    async with running(engine) as chat:
        await chat.ready()
        await chat.ask("One")
        await chat.ask("Two")
        chat.app.screen.query(PromptView).first().focus()
        await chat.pilot.press("e")
        await chat.until(lambda: chat.app.main.prompt.text == "One")
        await chat.enter("Uno")
        await chat.until(lambda: chat.texts == ["Uno", STORY])
        assert [v.turn.text for v in chat.app.screen.query(PromptView)] == ["Uno"]
        assert chat.app.main.chat.conversation.siblings(1) == [1, 5]
        await chat.pilot.press("escape")
        assert chat.app.main.prompt.border_title == ""


async def test_a_refused_prompt_comes_back_with_the_reason() -> None:
    class Narrow(ScriptedEngine):
        def astream(self, prompt: Request | object, **options: object) -> object:  # type: ignore[override]
            raise InvalidRequest("prompt", "5000 tokens", "at most 256")

    async with running(Narrow()) as chat:
        await chat.ready()
        await chat.enter("Long")
        await chat.until(lambda: chat.app.main.prompt.text == "Long")
        assert chat.toasts == ["prompt is '5000 tokens'; expected at most 256"]
        assert chat.texts == []


async def test_an_engine_that_fails_in_mid_answer_loses_nothing() -> None:
    class Dying(ScriptedEngine):
        def _events(self, request: Request) -> list[GenerationEvent]:
            return super()._events(request)[:2]

        def astream(self, prompt: object, **options: object) -> object:  # type: ignore[override]
            stream = super().astream(prompt, **options)  # type: ignore[arg-type]

            async def events() -> object:
                async for event in stream:
                    yield event
                raise EngineFailed("the worker died") from MemoryError("out of memory")

            return events()

    async with running(Dying()) as chat:
        await chat.ready()
        await chat.enter("Go")
        await chat.until(lambda: chat.toasts)
        assert chat.toasts == ["the worker died: out of memory"]
        assert chat.texts == ["Go", "Once upon a time"]
        assert "failed: the worker died: out of memory" in chat.text_of("AnswerView .failed")


async def test_reasoning_is_folded_and_calls_are_laid_out() -> None:
    class Thinking(ScriptedEngine):
        def _events(self, request: Request) -> list[GenerationEvent]:
            from dataclasses import replace

            deltas = (
                ReasoningDelta("Let me think."),
                ToolCallDelta(0, "c1", "look\x1b[2J", '{"what":'),
                ToolCallDelta(0, arguments='"fox"}'),
            )
            first, *rest = super()._events(request)
            return [replace(first, deltas=deltas), *rest]

    engine = Thinking()
    async with running(engine) as chat:
        await chat.ready()
        await chat.ask("Look")
        assert chat.text_of(Reasoning) == "▸ Thought: 3 words"
        chat.app.screen.query_one(Reasoning).focus()
        await chat.pilot.press("enter")
        assert "Let me think." in chat.text_of(Reasoning)
        assert chat.text_of(Calls) == '⚙ look␛[2J\n{\n  "what": "fox"\n}'
        chat.app.main.prompt.focus()
        await chat.ask("/result It is red.")
        assert isinstance(engine.requests[1].prompt[-1], Message)
        assert engine.requests[1].prompt[-1] == Message("tool", "It is red.", name="look\x1b[2J", tool_call_id="c1")


async def test_thoughts_that_a_server_left_in_the_text_are_told_apart() -> None:
    info = replace(SCRIPTED_INFO, reasoning=False)  # so that the engine reads no marks
    engine = ScriptedEngine(["<thi", "nk>Hm", ".</think>", "\n\nIt is", " <think>", " so."], info=info)
    async with running(engine) as chat:
        await chat.ready()
        await chat.ask("Why?")
        assert chat.text_of(Reasoning) == "▸ Thought: 1 words"
        assert chat.texts[-1] == "It is <think> so."
        assert chat.app.main.chat.conversation.path()[-1].message.reasoning == "Hm."


async def test_thinking_is_asked_for() -> None:
    engine = ScriptedEngine()
    async with running(engine) as chat:
        await chat.ready()
        for line in ("/think low", "/think loud", "/think off", "/think"):
            await chat.enter(line)
            await chat.ask("Why?")
        assert [r.reasoning for r in engine.requests] == ["low", "low", "off", "on"]


async def test_json_answers_are_laid_out() -> None:
    async with running(ScriptedEngine(['{"a":', "1}"])) as chat:
        await chat.ready()
        await chat.enter("/json on")
        await chat.ask("Now")
        assert _sources(chat.app) == ['```json\n{\n  "a": 1\n}\n```']


async def test_frames_and_the_whole_show_the_same() -> None:
    """Whatever way the text was cut into frames, the screen ends with the text itself."""
    text = "# Title\n\nOne *two*\n\n```python\n" + "x = 1\n" * 50 + "```\n\nlast words"
    engine = ScriptedEngine(words(text), hold=30)
    async with running(engine) as chat:
        await chat.ready()
        await chat.enter("Go")
        await chat.until(lambda: _sources(chat.app) and len(_sources(chat.app)[0]) > 40)
        engine.go_on()
        await chat.until(lambda: chat.answered)
        await chat.until(lambda: _sources(chat.app) == [text])


async def test_the_reader_who_scrolled_up_is_left_alone() -> None:
    engine = ScriptedEngine(words("line\n\n" * 100 + "end"), hold=90)
    async with running(engine, size=(80, 24)) as chat:
        await chat.ready()
        await chat.enter("Go")
        transcript = chat.app.screen.query_one(Transcript)
        await chat.until(lambda: transcript.max_scroll_y > 50)
        await chat.until(lambda: transcript.scroll_y == transcript.max_scroll_y)
        transcript.focus()
        await chat.pilot.press("pageup", "pageup")
        await chat.until(lambda: transcript.scroll_y < transcript.max_scroll_y - 10)
        at = transcript.scroll_target_y
        engine.go_on()
        await chat.until(lambda: chat.answered)
        await chat.pilot.pause()
        assert abs(transcript.scroll_y - at) <= 1


async def test_long_chats_keep_few_turns_on_the_screen() -> None:
    async with running(ScriptedEngine(["ok"])) as chat:
        await chat.ready()
        for i in range(25):
            await chat.ask(f"Prompt {i}")
        assert len(chat.app.screen.query(TurnView)) <= 40
        assert "earlier turns" in chat.text_of(Earlier)
        before = len(chat.app.screen.query(TurnView))
        await chat.pilot.press("ctrl+up")
        await chat.until(lambda: len(chat.app.screen.query(TurnView)) > before)
        logs = [chat.app.main.token_log(t.id) for t in chat.app.main.chat.conversation.path() if t.is_answer]
        assert sum(isinstance(log, TokenLog) for log in logs) == 8


async def test_earlier_prompts_come_back_with_up() -> None:
    async with running(ScriptedEngine()) as chat:
        await chat.ready()
        await chat.ask("One")
        await chat.ask("Two")
        chat.app.main.prompt.put("Thr")
        await chat.pilot.press("up", "up")
        assert chat.app.main.prompt.text == "One"
        await chat.pilot.press("down", "down")
        assert chat.app.main.prompt.text == "Thr"


async def test_lines_begin_with_ctrl_j() -> None:
    async with running(ScriptedEngine()) as chat:
        await chat.pilot.press("a", "ctrl+j", "b")
        assert chat.app.main.prompt.text == "a\nb"


async def test_lines_that_come_at_once_are_sent_one_by_one_in_order() -> None:
    async with running(ScriptedEngine()) as chat:
        await chat.ready()
        chat.at_once(*"One", "enter", *"/new", "enter", *"/set max_tokens 4", "enter", *"Two", "enter", *"Thr")
        await chat.until(lambda: chat.answered)
        assert chat.texts == ["Two", "Once upon a time"]
        assert chat.app.main.prompt.text == "Thr"


async def test_one_message_a_prompt() -> None:
    """The message hook sees a prompt sent once, whatever the keys before."""
    sent: dict[int, Prompt.Submitted] = {}

    def hook(message: TextualMessage) -> None:
        if isinstance(message, Prompt.Submitted):
            sent[id(message)] = message  # the hook sees it at each widget that it passes

    async with running(ScriptedEngine(), message_hook=hook) as chat:
        await chat.ready()
        await chat.pilot.press("enter", *"hi", "enter", "enter")
        await chat.until(lambda: chat.answered)
    assert [m.text for m in sent.values()] == ["hi"]


@pytest.mark.parametrize("size", [(20, 5), (10, 3), (300, 100)])
async def test_any_size_will_do(size: tuple[int, int]) -> None:
    async with running(ScriptedEngine(), size=(80, 24)) as chat:
        await chat.ready()
        await chat.pilot.resize_terminal(*size)
        await chat.ask("Hello")
        await chat.pilot.press("ctrl+t")
        await chat.pilot.resize_terminal(80, 24)
        await chat.pilot.press("escape")
        assert chat.texts == ["Hello", STORY]


async def test_switching_engines_asks_the_new_one() -> None:
    old, new = ScriptedEngine(["old"]), ScriptedEngine(["new"])
    garage = Garage(old, new)
    async with running(garage=garage) as chat:
        await chat.ready()
        await chat.ask("One")
        await chat.enter("/draft lookup")
        await chat.until(lambda: chat.app.engines.engine is new)
        assert old.closed
        await chat.ask("Two")
        assert chat.texts == ["One", "old", "Two", "new"]
    assert garage.choices[1].draft == "lookup"
