"""`specdec.load` for a URL: what only a local engine can choose is refused by name."""

from __future__ import annotations

from specdec.errors import InvalidRequest
from specdec.loading import LoadOptions
from specdec.remote.engine import RemoteEngine

_OURS = ("target", "draft", "context", "slots", "api_key")
"""What is not the server's to decide. Its queue and caches are, but nobody is refused for naming them."""
_IGNORED = ("queue_limit", "prefix_cache_bytes", "remember")


def load_remote(options: LoadOptions) -> RemoteEngine:
    """Connect."""
    for name, value in options.changed().items():
        if name not in (*_OURS, *_IGNORED):
            only = getattr(LoadOptions(), name)
            raise InvalidRequest(name, value, f"{only!r} beside a URL: the server decides that when it is started")
    engine = RemoteEngine(options.target, api_key=options.api_key, context=options.context, slots=options.slots)
    try:
        _check_draft(options.draft, engine)
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
