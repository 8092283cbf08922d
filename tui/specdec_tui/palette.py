"""The slash commands in Textual's command palette."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, cast

from textual.command import DiscoveryHit, Hit, Hits, Provider

from specdec_tui.core.commands import COMMANDS, Command

if TYPE_CHECKING:
    from specdec_tui.app import ChatApp


class Commands(Provider):
    """Runs a command, or begins its line in the prompt if it wants an argument."""

    async def discover(self) -> Hits:
        for command in COMMANDS:
            yield DiscoveryHit(f"/{command.name}", partial(self._do, command), help=command.help)

    async def search(self, query: str) -> Hits:
        matcher = self.matcher(query)
        for command in COMMANDS:
            score = max(matcher.match(f"/{command.name}"), matcher.match(command.help))
            if score > 0:
                shown = matcher.highlight(f"/{command.name}")
                yield Hit(score, shown, partial(self._do, command), help=command.help)

    async def _do(self, command: Command) -> None:
        app = cast("ChatApp", self.app)
        if command.usage and not command.usage.startswith("["):
            app.prompt.put(f"/{command.name} ")
            app.prompt.focus()
        else:
            await app.command(f"/{command.name}")
