"""All parameters at once. Each is checked as it is written; nothing counts before Enter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Grid, Vertical, VerticalScroll
from textual.widgets import Input, Label, Select, Static

from specdec.errors import InvalidRequest
from specdec_tui.core.safe import one_line
from specdec_tui.core.settings import NAMES, ChatSettings, Values, shown
from specdec_tui.screens.dialog import Dialog
from specdec_tui.widgets.options import Folded

_LINE_END = "\\n"
"""A field has one line."""
_HINTS = {
    "speculative": "auto, off or k",
    "temperature": "model's own",
    "repetition_penalty": "model's own",
    "top_k": "0 = off",
    "top_p": "up to 1",
    "min_p": "0 to 1",
    "max_tokens": "no limit",
    "seed": "a fresh one",
    "stop": "one|another",
    "logit_bias": "id=bias ...",
    "stop_token_ids": "ids",
    "logprobs": "0 to 20",
}


class ParamsScreen(Dialog[ChatSettings | None]):
    """Returns the settings to use from now on."""

    HELP = """\
# Parameters

An empty field means the default. `Enter` applies all, `Esc` none. A preset fills the fields.
"""
    BINDINGS: ClassVar[list[BindingType]] = [("escape", "dismiss", "Close")]
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (72, "-wide")]  # noqa: RUF012  (Textual declares it so)
    DEFAULT_CSS = """
    ParamsScreen { align: center middle; }
    ParamsScreen > Vertical {
        width: 78; max-width: 96%; height: auto; max-height: 96%; padding: 0 1; background: $surface;
        border: round $primary; border-title-color: $primary; border-subtitle-color: $text-muted;
    }
    ParamsScreen VerticalScroll { height: auto; max-height: 100%; }
    ParamsScreen Grid {
        grid-size: 4; grid-columns: auto 1fr auto 1fr; grid-rows: 1; grid-gutter: 0 1; height: auto; padding: 1 1;
    }
    ParamsScreen Input { background: $panel; padding: 0 1; }
    ParamsScreen Input:focus { background: $primary 20%; }
    ParamsScreen Input.-wrong { background: $error 30%; }
    ParamsScreen Label { color: $text-muted; }
    ParamsScreen.-narrow Grid { grid-size: 2; grid-columns: 18 1fr; }
    ParamsScreen #system, ParamsScreen #of-system { margin: 0 1; }
    ParamsScreen #problem { color: $error; height: auto; padding: 0 1; }
    ParamsScreen Select { margin: 0 1; }
    """

    def __init__(self, settings: ChatSettings, presets: Mapping[str, Values]) -> None:
        super().__init__()
        self._settings, self._presets = settings, presets

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title, box.border_subtitle = "Parameters", "Enter applies · Esc closes"
            with VerticalScroll(can_focus=False):
                names = [(one_line(name), name) for name in self._presets]
                yield Folded(names, prompt="preset", compact=True)
                with Grid():
                    for name in NAMES:
                        yield Label(name)
                        hint = _HINTS.get(name) or shown(ChatSettings().value(name))
                        yield Input(_written(self._settings, name), placeholder=hint, id=name, compact=True)
                yield Label("system prompt", id="of-system")
                system = shown(self._settings.system).replace("\n", _LINE_END)
                yield Input(system, placeholder="none; \\n is a line end", id="system", compact=True)
                yield Static("", id="problem", markup=False)

    def on_mount(self) -> None:
        self.query_one("#temperature").focus()

    @on(Select.Changed)
    def _preset(self, event: Select.Changed) -> None:
        if isinstance(event.value, str):
            filled = self._settings.preset(self._presets[event.value])
            for name in NAMES:
                self.query_one(f"#{name}", Input).value = _written(filled, name)

    @on(Input.Changed)
    def _check(self, event: Input.Changed) -> None:
        problem = ""
        try:
            if event.input.id in NAMES:
                self._settings.with_text(event.input.id, event.value)
        except InvalidRequest as error:
            problem = one_line(error)
        event.input.set_class(bool(problem), "-wrong")
        self.query_one("#problem", Static).update(problem)

    @on(Input.Submitted)
    def _apply(self) -> None:
        settings = self._settings.preset({}).with_grammar(self._settings.sampling.grammar)
        try:
            for name in NAMES:
                settings = settings.with_text(name, self.query_one(f"#{name}", Input).value)
        except InvalidRequest as error:
            self.query_one("#problem", Static).update(one_line(error))
        else:
            system = self.query_one("#system", Input).value.replace(_LINE_END, "\n").strip()
            self.dismiss(replace(settings, system=system or None))


def _written(settings: ChatSettings, name: str) -> str:
    """What differs from the default; the default is a field's hint."""
    return shown(settings.changed().get(name))
