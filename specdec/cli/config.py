"""Defaults of all commands, from one file of the user's; and `specdec config`, which shows it.

    temperature = 0.7          # for every command that has such an option
    target = "Qwen/Qwen3-8B"

    [serve]                    # for one command
    port = 9000

The command line comes before the environment, which comes before the file. What the file has wrong is an error of
every command.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import typer

from specdec.cli import options as o
from specdec.cli.jsonable import print_json
from specdec.cli.screen import stderr
from specdec.errors import InvalidRequest, first_line

VARIABLE = "SPECDEC_CONFIG"
EPILOG = """
Options above all tables are for every command that has them; a table such as [serve] is for one command.

Example: target = "Qwen/Qwen3-8B", and below it [serve] with port = 9000
"""


def config_file() -> Path:
    """Where it is, or would be."""
    return Path(os.environ.get(VARIABLE) or Path(typer.get_app_dir("specdec")) / "config.toml")


def defaults_of(command: str, options: Iterable[str]) -> dict[str, Any]:
    """What the file sets of a command's `options`. Raises InvalidRequest."""
    known = set(options)
    content = _content()
    shared = {name: value for name, value in content.items() if not isinstance(value, dict)}
    for name, value in shared.items():
        if name not in {*o.LOADING, *o.SAMPLING}:
            raise InvalidRequest(f"{config_file()}: {name}", value, "an option of models or sampling, or a table")
    own = {name.replace("-", "_"): value for name, value in content.get(command, {}).items()}
    for name in own.keys() - known:
        raise InvalidRequest(f"{config_file()}: {command}.{name}", own[name], f"an option of specdec {command}")
    return {name: value for name, value in shared.items() if name in known} | own


def _content() -> dict[str, Any]:
    file = config_file()
    try:
        content = tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InvalidRequest("config", str(file), f"a TOML file ({first_line(error)})") from None
    return {name.replace("-", "_"): value for name, value in content.items()}


@o.command
def config() -> None:
    """Print where the file with defaults is, and what it sets. SPECDEC_CONFIG names another one."""
    file = config_file()
    typer.echo(file)
    if not file.exists():
        stderr().print("it is not there yet: specdec config --help shows what may be in it", style="dim")
    else:
        print_json(_content())
