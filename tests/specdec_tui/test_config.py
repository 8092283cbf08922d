from __future__ import annotations

from pathlib import Path

import pytest

from specdec.errors import InvalidRequest
from specdec_tui.core.config import Config, read_config
from specdec_tui.core.models import NamedServer
from specdec_tui.core.servers import ToolServer


def _read(tmp_path: Path, text: str) -> Config:
    path = tmp_path / "chat.toml"
    path.write_text(text)
    return read_config(path)


def test_no_file_means_defaults(tmp_path: Path) -> None:
    assert read_config(tmp_path / "missing.toml") == Config()


def test_every_table(tmp_path: Path) -> None:
    config = _read(
        tmp_path,
        """
        engine = { target = "a", draft = "b", context = 512 }
        sampling = { temperature = 0.3, speculative = 4, stop = ["END"] }
        screen = { theme = "light-safe", gauge = "off", system = "Be brief." }
        models = { folders = ["~/models"] }
        presets.mine = { temperature = 1.5 }
        tools = { files = true }
        [servers.gpu]
        url = "http://gpu:8000/v1"
        api_key = "k"
        [mcpServers.time]
        command = "uvx"
        args = ["mcp-server-time"]
        env = { TZ = "UTC" }
        [mcpServers.web]
        type = "http"
        url = "http://localhost:1/mcp"
        headers = { Authorization = "Bearer ${KEY}" }
        """,
    )
    assert (config.engine.target, config.engine.draft, config.engine.context) == ("a", "b", 512)
    assert (config.settings.sampling.temperature, config.settings.speculative) == (0.3, 4)
    assert config.settings.sampling.stop == ("END",)
    assert (config.screen.theme, config.screen.gauge, config.settings.system) == (
        "light-safe",
        "off",
        "Be brief.",
    )
    time = ToolServer("uvx", ("mcp-server-time",), {"TZ": "UTC"})
    web = ToolServer(url="http://localhost:1/mcp", headers={"Authorization": "Bearer ${KEY}"}, type="http")
    assert config.tool_servers == {"time": time, "web": web}
    assert config.read_folder
    assert config.servers == {"gpu": NamedServer("http://gpu:8000/v1", "k")}
    assert config.folders == (Path("~/models"),)
    assert {"precise", "mine"} <= set(config.presets)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tempo = 1", "config is 'tempo'; expected one of engine"),
        ("engine.speed = 1", "engine is 'speed'"),
        ("screen.gauge = 'loud'", "gauge is 'loud'; expected one of calm, full, off"),
        ("mcpServers.a = {}", "mcpServers is None; expected a command or a url"),
        ("mcpServers.a = {url = 'http://x', type = 'ws'}", "mcpServers.type is 'ws'; expected one of stdio, http"),
        ("mcpServers.a.cwd = '.'", "mcpServers.a is 'cwd'; expected one of command, args, env, url"),
        ("sampling.heat = 1", "setting is 'heat'"),
        ("sampling.temperature = -2", "temperature is -2"),
        ("screen.theme = 'pink'", "theme is 'pink'; expected one of dark"),
        ("screen.rejected = 'yes'", "screen.rejected is 'yes'; expected a value like True"),
        ("a = [", "expected TOML"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        _read(tmp_path, text)


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "chat.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidRequest, match="a readable file"):
        read_config(tmp_path / "chat.toml")
