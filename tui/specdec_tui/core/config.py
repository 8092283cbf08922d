"""The config file: what a chat begins with. The command line goes before it.

[engine]    options of specdec.load: target, draft, device, dtype, context, accept_rule, ...; or url, for a server's
[sampling]  temperature, top_p, ..., speculative
[screen]    theme, gauge, rejected, system
[models]    folders = ["~/models"]
[presets.NAME]  sampling values
[servers.NAME]  url, api_key: servers whose models are listed
[mcpServers.NAME]  command, args, env, or url, headers: tools that the chat runs
[tools]     files = true: offer two that read the working folder
[keys]      NAME = "key,key": other keys for what F1 lists; compare = "f9"
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

from specdec.errors import InvalidRequest
from specdec.types import LoadOptions
from specdec_tui.core.models import NamedServer
from specdec_tui.core.servers import ToolServer
from specdec_tui.core.settings import PRESETS, ChatSettings, Values

THEME_NAMES = ("dark", "light", "dark-safe", "light-safe")
"""The last two have token colours that stay apart for colour-blind eyes."""


GaugeLevel = Literal["calm", "full", "off"]
"""The figures that people look at, all, or none."""


@dataclass(frozen=True, slots=True)
class ScreenConfig:
    """How the chat looks."""

    theme: str = "dark"
    gauge: GaugeLevel = "calm"
    rejected: bool = True
    """Show rejected drafts in the token view."""

    def __post_init__(self) -> None:
        if self.theme not in THEME_NAMES:
            raise InvalidRequest("theme", self.theme, "one of " + ", ".join(THEME_NAMES))
        if self.gauge not in get_args(GaugeLevel):
            raise InvalidRequest("gauge", self.gauge, "one of " + ", ".join(get_args(GaugeLevel)))


@dataclass(frozen=True, slots=True)
class Config:
    """Everything a chat begins with."""

    engine: LoadOptions = field(default_factory=LoadOptions)
    settings: ChatSettings = field(default_factory=ChatSettings)
    screen: ScreenConfig = field(default_factory=ScreenConfig)
    folders: tuple[Path, ...] = ()
    presets: Mapping[str, Values] = field(default_factory=lambda: dict(PRESETS))
    servers: Mapping[str, NamedServer] = field(default_factory=dict)
    """Whose models can be chosen."""
    tool_servers: Mapping[str, ToolServer] = field(default_factory=dict)
    """MCP servers."""
    read_folder: bool = False
    """Offer the tools that read the working folder."""
    keys: Mapping[str, str] = field(default_factory=dict)
    """Other keys, by the name of what they do."""


_MORE = ("presets", "servers", "mcpServers", "tools", "keys")


def read_config(path: Path) -> Config:
    """The file's values over the defaults; the defaults where there is no file. Raises InvalidRequest."""
    try:
        tables = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return Config()
    except tomllib.TOMLDecodeError as error:
        raise InvalidRequest("config", str(path), f"TOML ({error})") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest("config", str(path), f"a readable file ({error})") from None
    _known("config", tables, ("engine", "sampling", "screen", "models", *_MORE))
    engine, screen = (dict(tables.get(name, {})) for name in ("engine", "screen"))
    if url := engine.pop("url", None):
        engine["target"] = url
    tool_servers = {
        name: {**values, **({"args": tuple(values["args"])} if "args" in values else {})}
        for name, values in tables.get("mcpServers", {}).items()
    }
    settings = ChatSettings(system=screen.pop("system", None))
    return Config(
        engine=_filled(LoadOptions, "engine", engine),
        settings=settings.with_values(tables.get("sampling", {})),
        screen=_filled(ScreenConfig, "screen", screen),
        folders=tuple(Path(f) for f in tables.get("models", {}).get("folders", [])),
        presets=PRESETS | {name: dict(values) for name, values in tables.get("presets", {}).items()},
        servers={name: _filled(NamedServer, f"servers.{name}", v) for name, v in tables.get("servers", {}).items()},
        tool_servers={name: _filled(ToolServer, f"mcpServers.{name}", v) for name, v in tool_servers.items()},
        read_folder=bool(tables.get("tools", {}).get("files", False)),
        keys={name: str(key) for name, key in tables.get("keys", {}).items()},
    )


def _filled(kind: type[Any], table: str, values: Mapping[str, Any]) -> Any:
    _known(table, values, [f.name for f in fields(kind)])
    for name, value in values.items():
        own = next(f for f in fields(kind) if f.name == name)
        default = own.default if own.default_factory is MISSING else own.default_factory()
        if default is not None and not isinstance(value, type(default)):
            raise InvalidRequest(f"{table}.{name}", value, f"a value like {default!r}")
    return kind(**values)


def _known(table: str, values: Mapping[str, Any], names: Any) -> None:
    unknown = set(values) - set(names)
    if unknown:
        raise InvalidRequest(table, ", ".join(sorted(unknown)), "one of " + ", ".join(names))
