"""Where a server is, and what is found out about it when it is connected to."""

from __future__ import annotations

from dataclasses import dataclass

import httpx

from specdec.errors import InvalidRequest
from specdec.remote.dialects import ServerDialect

_EXPECTED = "a base URL such as http://host:8000/v1, or http://host:8000/v1#model where several are served"


@dataclass(frozen=True, slots=True)
class Address:
    """`http://host:8000/v1#model`, taken apart."""

    base: str
    """Without a slash at its end."""
    model: str | None = None

    @classmethod
    def of(cls, url: str) -> Address:
        try:
            parsed = httpx.URL(url)
        except (httpx.InvalidURL, TypeError) as error:
            raise InvalidRequest("target", url, f"{_EXPECTED} ({error})") from None
        if parsed.userinfo:
            hidden = str(parsed.copy_with(username="", password="")).replace("://", "://***@", 1)
            raise InvalidRequest("target", hidden, "a URL without user and password; pass api_key instead")
        wrong_port = parsed.port is not None and not 0 < parsed.port < 2**16
        if parsed.scheme not in ("http", "https") or not parsed.host or parsed.query or wrong_port:
            raise InvalidRequest("target", url, _EXPECTED)
        base = str(parsed.copy_with(fragment=None)).rstrip("/")
        return cls(base, parsed.fragment or None)


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """A model at a server. `speculates` is None where it does not say."""

    base: str
    model: str
    dialect: ServerDialect
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
