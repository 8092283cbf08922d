"""A remote server on the command line, and one without speculation to compare it with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from specdec.bench.plain import Mode
from specdec.cli import options as o
from specdec.cli.compare import number
from specdec.cli.screen import stderr
from specdec.errors import InvalidRequest
from specdec.types import Speculative
from specdec.verify.cases import Abilities

if TYPE_CHECKING:
    from specdec.remote import RemoteEngine

_server = partial(typer.Option, callback=o.address, rich_help_panel="A server instead of a local pair")
Url = Annotated[str | None, _server("--url", help="An OpenAI-compatible server: http://host:8000/v1.")]
PlainUrl = Annotated[
    str | None, _server("--plain-url", help="The same target without speculation, if --url cannot switch it off.")
]


@dataclass(frozen=True, slots=True)
class Servers:
    """What is measured, and what it is compared with: another server, or itself."""

    engine: RemoteEngine
    plain: RemoteEngine | None

    @property
    def abilities(self) -> Abilities:
        dialect = self.engine.server.dialect
        return Abilities(switch=dialect.switch is not None, prediction=dialect.prediction)

    @property
    def comparable(self) -> bool:
        return self.plain is not None or self.abilities.switch or self.engine.server.speculates is False

    def modes(self, speculative: Speculative) -> dict[str, Mode]:
        """Plain and speculative, for the bench."""
        if not self.comparable:
            why = f"for {self.engine.info.backend} cannot switch it off for a request"
            raise InvalidRequest("plain_url", None, f"a server with the same target and no speculation, {why}")
        plain = Mode(self.engine, "off") if self.plain is None else Mode(self.plain, "auto")
        return {"plain": plain, "speculative": Mode(self.engine, speculative)}


@contextmanager
def servers(url: str, plain_url: str | None, slots: int) -> Iterator[Servers]:
    """Connected; at the end one line of what the server counted meanwhile, if it counts."""
    from specdec.remote import RemoteEngine

    with ExitStack() as stack:
        engine = stack.enter_context(RemoteEngine(url, slots=slots))
        plain = stack.enter_context(RemoteEngine(plain_url, slots=slots)) if plain_url else None
        before = engine.speculated()
        yield Servers(engine, plain)
        if before and (after := engine.speculated()):
            done = after.since(before)
            counted = (
                f"by the server's own count, for all its clients: acceptance length {number(done.acceptance_length)}, "
                f"accepted {done.accepted} of {done.drafted} drafted in {done.rounds} rounds"
            )
            stderr().print(counted, style="dim", soft_wrap=True)


def only_beside_url(url: str | None, plain_url: str | None) -> None:
    if plain_url and not url:
        raise InvalidRequest("plain_url", plain_url, "a --url beside it")
