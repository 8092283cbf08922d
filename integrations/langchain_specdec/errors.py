"""What is wrong with a call, in errors of LangChain's own kind.

    LangChainException
    └── InvalidInput          a message, tool or parameter cannot be served (also a ValueError)
        └── InputTooLong          the prompt does not fit the context (also LangChain's ContextOverflowError)

What goes wrong in the engine (busy, closed, failed) stays an error of `specdec.errors`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from langchain_core.exceptions import ContextOverflowError, LangChainException

from specdec.errors import InvalidRequest, PromptTooLong


class InvalidInput(LangChainException, ValueError):
    """A message, tool or parameter that cannot be served. `__cause__` is the engine's own InvalidRequest, if it was
    the engine that refused it."""


class InputTooLong(InvalidInput, ContextOverflowError):
    """The prompt does not fit the context."""


@contextmanager
def translated() -> Iterator[None]:
    """Errors of a request leave as LangChain's."""
    try:
        yield
    except InvalidRequest as error:
        kind = InputTooLong if isinstance(error, PromptTooLong) else InvalidInput
        raise kind(str(error)) from error
