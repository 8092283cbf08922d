"""Errors on their way from the child to the parent: the same class, the same message, the same causes.

Only specdec's own errors and Python's cross as they are. Any other would make the parent import the library that it
comes from (torch, say), so it arrives as a RuntimeError that names it.
"""

from __future__ import annotations

import pickle
import traceback
from dataclasses import dataclass

from specdec.errors import SpecDecError

_MOST_CAUSES = 8  # a chain longer than this tells nobody more


@dataclass(frozen=True, slots=True)
class PortableError:
    """An error and its causes, outermost first."""

    chain: tuple[BaseException, ...]

    @classmethod
    def of(cls, error: BaseException) -> PortableError:
        chain: list[BaseException] = []
        at: BaseException | None = error
        while at is not None and len(chain) < _MOST_CAUSES:
            expected, portable = isinstance(at, SpecDecError), at
            try:
                # an exception may take other arguments than it keeps, or hold what cannot go
                pickle.loads(pickle.dumps(at))  # noqa: S301  (made in this line)
                known = expected or type(at).__module__ == "builtins"
            except Exception:  # noqa: BLE001  (whatever its reducers raise)
                known = False
            if not known:
                message = f"{type(at).__name__}: {at}"
                portable = RuntimeError(" ".join(message.split()))
            if not expected:  # a bug, then: where it happened is worth keeping
                portable.add_note("in the engine's process:\n" + "".join(traceback.format_exception(at)))
            chain.append(portable)
            at = at.__cause__
        return cls(tuple(chain))

    def error(self) -> BaseException:
        """The error, with its causes linked again: pickling an exception drops them."""
        for error, cause in zip(self.chain, self.chain[1:], strict=False):
            error.__cause__ = cause
        return self.chain[0]
