"""`specdec.load` for a URL: what only a local engine can choose is refused by name."""

from __future__ import annotations

from specdec.errors import InvalidRequest
from specdec.remote.engine import RemoteEngine
from specdec.types.load import MEANINGS, LoadOptions


def load_remote(options: LoadOptions) -> RemoteEngine:
    """Connect."""
    for name, value in options.changed().items():
        if MEANINGS[name].url == "refused":
            only = getattr(LoadOptions(), name)
            raise InvalidRequest(name, value, f"{only!r} beside a URL: the server decides that when it is started")
    engine = RemoteEngine(options.target, api_key=options.api_key, context=options.context, slots=options.slots)
    speculates, where = engine.server.speculates, f"{engine.server.dialect.name} at {engine.server.base}"
    if options.draft == "none" and speculates:
        expected = f"{where} speculates, and only a restart without a draft ends that"
    elif options.draft not in ("auto", "none") and not speculates:
        does = "does not speculate" if speculates is False else "does not say whether it speculates"
        expected = f"{where} {does}; specdec cluster shows how to start it with a draft"
    else:
        return engine
    engine.close()
    raise InvalidRequest("draft", options.draft, f"'auto': {expected}")
