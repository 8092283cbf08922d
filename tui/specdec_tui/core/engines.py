"""The chat's engine: opened behind the screen, in a process of its own or at a URL; changed, and closed."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from specdec.engine import Engine, Progress
from specdec.errors import CheckpointNotFound, SpecDecError, first_line
from specdec.hub import known
from specdec.loading import load_engine
from specdec.types import EngineInfo, LoadOptions
from specdec_tui.core.frames import FRAME
from specdec_tui.core.models import missing

_NO_CHECKPOINT = ("bundled", "auto", "none", "lookup")

OpenEngine = Callable[[LoadOptions, Progress], Engine]
"""Blocks until the engine is ready. Raising in `progress` gives it up."""


class EngineOpener:
    """Opens engines. Their standard error goes to a log, off the screen."""

    def __init__(self, log: Path) -> None:
        self.log = log

    def check(self, options: LoadOptions) -> None:
        """Raises what is wrong with a server, or CheckpointNotFound for what is neither here nor at the hub; takes a
        moment."""
        if options.remote:
            self(options, lambda _stage, _fraction: None).close()
            return
        for name in (options.target, options.draft):
            if name not in _NO_CHECKPOINT and not known(name):
                raise CheckpointNotFound(f"no model {name!r}: neither a folder here nor known to the hub")

    @staticmethod
    def missing(options: LoadOptions) -> list[str]:
        """Those of which nothing is here."""
        return [name for name in (options.target, options.draft) if missing(name)]

    def __call__(self, options: LoadOptions, progress: Progress) -> Engine:
        if options.remote:  # what only a local engine can choose may stand in the config file; it is left out
            kept = LoadOptions(options.target, options.draft, context=options.context, api_key=options.api_key)
            return load_engine(kept, progress)
        from specdec.process import ProcessEngine

        factory = partial(load_engine, replace(options, slots=1))
        with suppress(OSError):
            self.log.parent.mkdir(parents=True, exist_ok=True)
        with open(self.log if self.log.parent.is_dir() else os.devnull, "ab") as stderr:
            return ProcessEngine(factory, progress=progress, stderr=stderr, gather=FRAME)


@dataclass(frozen=True, slots=True)
class Loading:
    """How far loading has come, 0 to 1."""

    stage: str
    fraction: float


@dataclass(frozen=True, slots=True)
class Loaded:
    """The engine takes requests."""


@dataclass(frozen=True, slots=True)
class LoadFailed:
    """There is no engine. `previous` is what was loaded before."""

    error: Exception
    previous: LoadOptions | None


class _Abandoned(Exception):
    """Another engine is wanted by now."""


class EngineManager:
    """Holds at most one engine. Every method returns at once; `report` is called in another thread."""

    def __init__(
        self, opening: OpenEngine, options: LoadOptions, report: Callable[[Loading | Loaded | LoadFailed], object]
    ) -> None:
        self._open, self._report = opening, report
        self.options = options
        self.engine: Engine | None = None
        self.failed: Exception | None = None
        """Why the last load brought none."""
        self._load_number = 0

    @property
    def down(self) -> str | None:
        """Why the engine, if there is one, takes no requests."""
        return self.engine.down if self.engine else None

    def missing(self, options: LoadOptions) -> list[str]:
        """Hub ids among these that would have to be fetched first."""
        find: Callable[[LoadOptions], list[str]] = getattr(self._open, "missing", lambda _: [])
        return find(options)

    @property
    def log(self) -> Path:
        """Where what others write goes, off the screen."""
        return getattr(self._open, "log", Path(os.devnull))

    def check(self, options: LoadOptions) -> None:
        """Raises what is plainly wrong with these, while the present engine still runs. Blocks for a moment."""
        if check := getattr(self._open, "check", None):
            check(options)

    def load(self, options: LoadOptions) -> None:
        """Load this one. The present engine ends first: two of them may not fit into memory."""
        previous = self.options if self.engine and options != self.options else None
        self.options = options
        self._load_number += 1
        self.failed = None
        old, self.engine = self.engine, None
        arguments = (self._load_number, options, old, previous)
        threading.Thread(target=self._load, args=arguments, name="specdec-loading", daemon=True).start()

    def close(self) -> None:
        self._load_number += 1
        engine, self.engine = self.engine, None
        if engine:
            engine.close()

    def _load(self, number: int, options: LoadOptions, old: Engine | None, previous: LoadOptions | None) -> None:
        def progress(stage: str, fraction: float) -> None:
            if number != self._load_number:
                raise _Abandoned
            self._report(Loading(stage, fraction))

        try:
            if old:
                old.close()
            engine = self._open(options, progress)
        except _Abandoned:
            return
        except Exception as error:  # noqa: BLE001  (whatever it is, the screen shows it and goes on)
            if number == self._load_number:
                self.failed = error
                self._report(LoadFailed(error, previous))
            return
        if number != self._load_number:
            engine.close()
            return
        self.engine = engine
        self._report(Loaded())


def draft_of(info: EngineInfo) -> str | None:
    """The loaded draft by its name; both of the bundled pair have the same."""
    return "its draft model" if info.draft == info.target else info.draft


_WHEN_ASKED = {"grammar", "prediction"}
"""Drafters that need something of the request."""


def other_drafters(info: EngineInfo) -> list[str]:
    """What drafts beside the loaded draft, and without being asked."""
    return [d for d in info.drafters if d not in _WHEN_ASKED and not (d == "model" and info.draft)]


def shares_cores(engine: Engine) -> bool:
    """Whether it decodes in a process of its own, on the cores that draw."""
    return engine.info.device == "cpu" and hasattr(engine, "pid")


def causes(error: BaseException) -> str:
    """An error and what it came from, in one line."""
    chain = [_words(error)]
    while error.__cause__ is not None:
        error = error.__cause__
        if _words(error) not in chain[-1]:
            chain.append(_words(error))
    return ": ".join(chain)


def _words(error: BaseException) -> str:
    """As it is said to somebody before a screen: errors of the library speak of its calls."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    text = str(error) if isinstance(error, SpecDecError) else first_line(error)
    for call, key in _ON_SCREEN:
        text = text.replace(call, key)
    return text


_ON_SCREEN = (
    ("restart() brings it back", "F8 brings it back"),
    ("pass api_key= or set SPECDEC_API_KEY", "set SPECDEC_API_KEY, or api_key in [engine] of chat.toml"),
)
