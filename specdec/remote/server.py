"""What is known about a server, found out once, when it is connected to."""

from __future__ import annotations

from dataclasses import dataclass

from specdec.remote.dialects import Dialect


@dataclass(frozen=True, slots=True)
class Server:
    """A model at a server. `speculates` is None where it does not say."""

    base: str
    model: str
    dialect: Dialect
    version: str | None = None
    context: int | None = None
    speculates: bool | None = None

    @property
    def root(self) -> str:
        """Where it has what is not OpenAI's."""
        return self.base.removesuffix("/v1")

    @property
    def refuses(self) -> tuple[str, ...]:
        """Parameters of its dialect that it does not take while it speculates."""
        return self.dialect.without_speculation if self.speculates else ()
