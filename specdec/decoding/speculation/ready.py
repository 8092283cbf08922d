"""Which numbers of drafts can run at once, and which would be of use."""

from __future__ import annotations

from typing import Protocol


class Ready(Protocol):
    """What is ready for the rows of one round. `drafter` is who drafts on the device, None for drafts that the host
    gives, or where nothing is drafted."""

    def size(self, drafter: str | None, length: int) -> int | None:
        """How many drafts a round of `length` makes and verifies: it is filled up to a round that is ready. None where
        none is."""
        ...

    def miss(self, drafter: str | None, length: int) -> None:
        """A round of exactly `length` would be faster than all that are ready."""
        ...


class Everything:
    """Where nothing has to be made ready."""

    def size(self, drafter: str | None, length: int) -> int | None:  # noqa: ARG002
        """See `Ready.size`."""
        return length

    def miss(self, drafter: str | None, length: int) -> None:
        """See `Ready.miss`: nothing is."""


EVERYTHING = Everything()
