"""What is wrong with a call, in errors of LangChain's own kind.

    LangChainException
    ├── InvalidInput      a message, tool or parameter cannot be served (also a ValueError)
    └── PromptTooLong     the prompt does not fit the context (also LangChain's ContextOverflowError)

What goes wrong in the engine (busy, closed, failed) stays an error of `specdec.errors`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from langchain_core.exceptions import ContextOverflowError, LangChainException

from specdec import errors
from specdec.engine import Engine
from specdec.errors import EngineClosed, EngineFailed, InvalidRequest
from specdec.loading import forget


class InvalidInput(LangChainException, ValueError):
    """A message, tool or parameter that cannot be served. `__cause__` is the engine's own InvalidRequest, if it was
    the engine that refused it."""


class PromptTooLong(InvalidInput, ContextOverflowError):
    """The prompt does not fit the context."""


@contextmanager
def translated(engine: Engine | None = None) -> Iterator[None]:
    """Errors of a request leave as LangChain's; an engine that is gone is loaded anew by the next call."""
    try:
        yield
    except InvalidRequest as error:
        kind = PromptTooLong if isinstance(error, errors.PromptTooLong) else InvalidInput
        raise kind(str(error)) from error
    except (EngineClosed, EngineFailed):
        if engine is not None:
            forget(engine)
        raise
