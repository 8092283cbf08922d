"""How a chat comes to its engine: which one, in which process, and how it is brought back."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from specdec.engine import AcceptRule, Engine, Progress
from specdec_tui.core.frames import FRAME


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """What to load. With a `url` the models run there, and only `target` names one of them."""

    target: str = "bundled"
    draft: str = "auto"
    device: str = "auto"
    dtype: str = "auto"
    context: int | None = None
    accept_rule: AcceptRule = "coupled"
    trust_remote_code: bool = False
    url: str | None = None

    @property
    def name(self) -> str:
        return self.url or self.target


Open = Callable[[EngineChoice, Progress], Engine]
"""Blocks until the engine is ready. Raising in `progress` gives it up."""


class Opener:
    """Opens engines in a process of their own, or at a URL. Their standard error goes to a log, off the screen."""

    def __init__(self, log: Path) -> None:
        self.log = log

    def __call__(self, choice: EngineChoice, progress: Progress) -> Engine:
        if choice.url:
            from specdec.loading import load

            return load(choice.url, choice.draft, context=choice.context, progress=progress)
        from specdec.process import ProcessEngine

        options = asdict(choice)
        del options["url"]
        with suppress(OSError):
            self.log.parent.mkdir(parents=True, exist_ok=True)
        with open(self.log if self.log.parent.is_dir() else "/dev/null", "ab") as stderr:
            return ProcessEngine.load(**options, slots=1, progress=progress, stderr=stderr, gather=FRAME)


def is_beside(engine: Engine) -> bool:
    """Whether it decodes in a process of its own, on the cores that draw."""
    return engine.info.device == "cpu" and hasattr(engine, "pid")


def causes(error: BaseException) -> str:
    """An error and what it came from, in one line."""
    chain = [str(error)]
    while error.__cause__ is not None:
        error = error.__cause__
        if str(error) not in chain[-1]:
            chain.append(str(error))
    return ": ".join(chain)
