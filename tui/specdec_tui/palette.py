"""The slash commands in Textual's command palette."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Any

from textual import events
from textual.app import ComposeResult
from textual.command import CommandList, CommandPalette, DiscoveryHit, Hit, Hits, Provider
from textual.worker import Worker

from specdec_tui.core.commands import COMMANDS, Command
from specdec_tui.screens.dialog import ClosesOnce
from specdec_tui.widgets.options import Options


class PaletteOptions(CommandList, Options):
    """Looks as Textual's own."""


class PagedPalette(CommandPalette, ClosesOnce[None]):
    """Textual's own falls over a page key before its list was laid out, and over being closed before it was there."""

    def compose(self) -> ComposeResult:
        for widget in super().compose():
            yield PaletteOptions() if isinstance(widget, CommandList) else widget

    def _on_mount(self, event: events.Mount) -> None:
        if self not in self.app.screen_stack:
            event.prevent_default()

    def run_worker(self, *arguments: Any, **options: Any) -> Worker[Any]:
        """Its search may outlive its list, as the app ends."""
        return super().run_worker(*arguments, **{**options, "exit_on_error": False})

    def _action_command_list(self, action: str) -> None:
        with suppress(KeyError):
            super()._action_command_list(action)


class CommandProvider(Provider):
    """Offers them; the app runs the one that is chosen."""

    async def discover(self) -> Hits:
        for command in COMMANDS:
            yield DiscoveryHit(f"/{command.name}", self._run(command), help=command.help)

    async def search(self, query: str) -> Hits:
        matcher = self.matcher(query)
        for command in COMMANDS:
            score = max(matcher.match(f"/{command.name}"), matcher.match(command.help))
            if score > 0:
                yield Hit(score, matcher.highlight(f"/{command.name}"), self._run(command), help=command.help)

    def _run(self, command: Command) -> Callable[[], Awaitable[bool]]:
        return partial(self.app.run_action, f"palette_command('{command.name}')")
