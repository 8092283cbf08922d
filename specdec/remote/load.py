"""`specdec.load` for a URL: what only a local engine can choose is refused by name."""

from __future__ import annotations

from typing import Any

from specdec.errors import InvalidRequest
from specdec.remote.engine import RemoteEngine


def load_remote(
    url: str, draft: str, *, context: int | None, slots: int, api_key: str | None, **local: Any
) -> RemoteEngine:
    """Connect. `local` are options that the server has decided long ago, each with its only possible value."""
    for name, (value, only) in local.items():
        if value != only:
            raise InvalidRequest(
                name, value, f"{only!r} beside a URL: the server decides that when it is started"
            )
    engine = RemoteEngine(url, api_key=api_key, context=context, slots=slots)
    try:
        _check_draft(draft, engine)
    except InvalidRequest:
        engine.close()
        raise
    return engine


def _check_draft(draft: str, engine: RemoteEngine) -> None:
    server = engine.server
    where = f"{server.dialect.name} at {server.base}"
    if draft == "none" and server.speculates:
        raise InvalidRequest(
            "draft", draft, f"'auto': {where} speculates, and only a restart without a draft ends that"
        )
    if draft not in ("auto", "none") and not server.speculates:
        does = "does not speculate" if server.speculates is False else "does not say whether it speculates"
        raise InvalidRequest(
            "draft", draft, f"'auto': {where} {does}; specdec cluster shows how to start it with a draft"
        )
