"""Several models by name, for `specdec serve`: from NAME=TARGET, and from a TOML file with a table for each."""

from __future__ import annotations

import os
import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from specdec.engine import Engine, Progress
from specdec.errors import InvalidRequest, first_line
from specdec.loading import load_engine
from specdec.types import LoadOptions

if TYPE_CHECKING:
    from specdec_server import NamedModel

UPSTREAM_KEY_VARIABLE = "SPECDEC_UPSTREAM_KEY"


def named_models(pairs: Sequence[str], file: Path | None, defaults: LoadOptions, most: int = 1) -> list[NamedModel]:
    """Those of NAME=TARGET, then the file's; `defaults` holds what all of them share. `most` of them may be in memory
    at once, and each has its share of a GPU's. Raises InvalidRequest."""
    from specdec_server import NamedModel

    tables: dict[str, dict[str, Any]] = {}
    for pair in pairs:
        name, _, target = pair.partition("=")
        if not name or not target:
            raise InvalidRequest("model", pair, "NAME=TARGET, such as small=Qwen/Qwen3-0.6B")
        tables[name] = {"target": target}
    tables |= _read(file) if file else {}
    if tables and defaults.target != LoadOptions().target:
        raise InvalidRequest("target", defaults.target, "none beside --model and --models")
    models, known = [], {field.name for field in fields(LoadOptions)}
    devices = Counter(table.get("device", defaults.device) for table in tables.values())
    for name, table in tables.items():
        aliases = table.pop("aliases", [])
        if not isinstance(aliases, list) or not all(isinstance(alias, str) for alias in aliases):
            raise InvalidRequest(f"models.{name}.aliases", aliases, "a list of names")
        if unknown := table.keys() - known:
            expected = f"one of aliases, {', '.join(sorted(known))}"
            raise InvalidRequest(f"models.{name}", min(unknown), expected)
        beside = min(most, devices[table.get("device", defaults.device)])
        try:
            options = replace(defaults, **{"memory_share": 1 / beside, **table})
        except InvalidRequest as error:
            raise InvalidRequest(f"models.{name}.{error.field}", error.value, error.expected) from None
        models.append(NamedModel(name, partial(_load, options), tuple(aliases)))
    return models


def beyond(loading: LoadOptions) -> LoadOptions:
    """Of a server that runs the model: it gets its own key or none, never the one of our clients."""
    return loading if loading.api_key else replace(loading, api_key=os.environ.get(UPSTREAM_KEY_VARIABLE, ""))


def _read(file: Path) -> dict[str, dict[str, Any]]:
    try:
        tables = tomllib.loads(file.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidRequest("models", str(file), f"a TOML file ({first_line(error)})") from None
    for name, table in tables.items():
        if not isinstance(table, dict) or "target" not in table:
            raise InvalidRequest(f"models.{name}", table, "a table with a target")
    if not tables:
        raise InvalidRequest("models", str(file), "a table for each model, such as [small]")
    return tables


def _load(options: LoadOptions, progress: Progress) -> Engine:
    """In a process of its own, whose memory is free again when it ends."""
    if options.remote:
        return load_engine(beyond(options), progress)
    from specdec.process import ProcessEngine

    return ProcessEngine(partial(load_engine, options), progress=progress)
