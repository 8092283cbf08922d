"""The config file: what a chat begins with. The command line goes before it.

[engine]    target, draft, device, dtype, context, accept_rule, url
[sampling]  temperature, top_p, ..., speculative
[screen]    theme, gauge, rejected, system
[models]    folders = ["~/models"]
[presets.NAME]  sampling values
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from specdec.errors import InvalidRequest
from specdec_tui.core.engines import EngineChoice
from specdec_tui.core.settings import PRESETS, Settings, Values

THEME_NAMES = ("dark", "light", "dark-safe", "light-safe")
"""The last two have token colours that stay apart for colour-blind eyes."""


@dataclass(frozen=True, slots=True)
class Screen:
    """How the chat looks."""

    theme: str = "dark"
    gauge: bool = True
    rejected: bool = True
    """Show rejected drafts in the token view."""

    def __post_init__(self) -> None:
        if self.theme not in THEME_NAMES:
            raise InvalidRequest("theme", self.theme, "one of " + ", ".join(THEME_NAMES))


@dataclass(frozen=True, slots=True)
class Config:
    """Everything a chat begins with."""

    engine: EngineChoice = field(default_factory=EngineChoice)
    settings: Settings = field(default_factory=Settings)
    screen: Screen = field(default_factory=Screen)
    folders: tuple[Path, ...] = ()
    presets: Mapping[str, Values] = field(default_factory=lambda: dict(PRESETS))


def read_config(path: Path) -> Config:
    """The file's values over the defaults; the defaults where there is no file. Raises InvalidRequest."""
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return Config()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest("config", str(path), f"a readable file ({error})") from None
    try:
        return _config(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise InvalidRequest("config", str(path), f"TOML ({error})") from None


def _config(tables: Mapping[str, Any]) -> Config:
    _known("config", tables, ("engine", "sampling", "screen", "models", "presets"))
    screen = dict(tables.get("screen", {}))
    settings = replace(Settings(), system=screen.pop("system", None))
    folders = tables.get("models", {}).get("folders", [])
    return Config(
        engine=_filled(EngineChoice, "engine", tables.get("engine", {})),
        settings=settings.with_values(tables.get("sampling", {})),
        screen=_filled(Screen, "screen", screen),
        folders=tuple(Path(f) for f in folders),
        presets=PRESETS | {name: dict(values) for name, values in tables.get("presets", {}).items()},
    )


def _filled(kind: type[Any], table: str, values: Mapping[str, Any]) -> Any:
    _known(table, values, [f.name for f in fields(kind)])
    for name, value in values.items():
        default = getattr(kind(), name)
        if default is not None and not isinstance(value, type(default)):
            raise InvalidRequest(f"{table}.{name}", value, f"a value like {default!r}")
    return kind(**values)


def _known(table: str, values: Mapping[str, Any], names: Any) -> None:
    unknown = set(values) - set(names)
    if unknown:
        raise InvalidRequest(table, ", ".join(sorted(unknown)), "one of " + ", ".join(names))
