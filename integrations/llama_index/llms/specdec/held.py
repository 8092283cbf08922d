"""An engine as a part of a component that can be copied and pickled."""

from __future__ import annotations

from typing import Any, Self

from specdec.engine import Engine


class Held:
    """Copies share the engine; a pickle leaves it behind, and what is unpickled looks for its own."""

    def __init__(self, engine: Engine | None = None) -> None:
        self.engine = engine

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return self

    def __reduce__(self) -> tuple[type[Held], tuple[()]]:
        return Held, ()
