"""`/compare`: both sides of a comparison, seen as they are written."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing

from specdec.engine import Engine
from specdec.remote.server import ServerInfo
from specdec.types import Answer, GenerationEvent, Request
from specdec.verify.comparison import WARM_UP_TOKENS, Comparison, Side, sides


def forgets(engine: Engine) -> bool:
    """Whether it can be told to leave recent answers alone: each of ours, and no other server."""
    server: ServerInfo | None = getattr(engine, "server", None)
    return server is None or server.dialect.remember


async def compare(engine: Engine, request: Request, see: Callable[[Side, GenerationEvent], None]) -> Comparison:
    """One after the other, each after a short untimed run."""
    found = {}
    for side, asked in sides(request).items():
        await engine.agenerate("Warm up.", max_tokens=WARM_UP_TOKENS, speculative=asked.speculative)
        answer = Answer()
        async with aclosing(engine.astream(asked)) as events:
            async for event in events:
                answer.add(event)
                see(side, event)
        found[side] = answer.completion
    return Comparison(found["plain"], found["speculative"], engine.info.accept_rule)
