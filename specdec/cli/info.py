"""`specdec info`: what an engine would be made of."""

from __future__ import annotations

from rich.table import Table

from specdec.cli import options as o
from specdec.cli.jsonable import info_json, print_json
from specdec.cli.screen import loaded, reported, stdout
from specdec.types import EngineInfo


def info(
    target: o.Target = "bundled",
    draft: o.Draft = "auto",
    device: o.Device = "auto",
    dtype: o.DType = "auto",
    context: o.Context = None,
    accept_rule: o.Rule = "coupled",
    trust_remote_code: o.RemoteCode = False,
    json: o.Json = False,
) -> None:
    """Load a target with what drafts for it, and say what they are."""
    with reported():
        models = o.EngineOptions(target, draft, device, dtype, context, accept_rule, trust_remote_code)
        with loaded(models) as engine:
            if json:
                print_json(info_json(engine.info))
            else:
                stdout().print(info_table(engine.info))


def info_table(info: EngineInfo) -> Table:
    """The facts, one a line."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="dim")
    table.add_column()
    for name, value in _facts(info).items():
        table.add_row(name, value)
    return table


def _facts(info: EngineInfo) -> dict[str, str]:
    return _server_facts(info) if info.device == "remote" else _local_facts(info)


def _server_facts(info: EngineInfo) -> dict[str, str]:
    """What a server tells."""
    off = info.speculation_unavailable
    speculation = f"off: {off}" if off else "on" if info.drafters else "the server does not say"
    return {
        "target": info.target,
        "server": info.runner,
        "speculation": speculation,
        "context": f"{info.context} tokens",
    }


def _local_facts(info: EngineInfo) -> dict[str, str]:
    draft = f"{info.draft} ({info.draft_parameters / 1e6:.1f}M parameters)" if info.draft else "none"
    speculation = f"off: {info.speculation_unavailable}" if info.speculation_unavailable else "available"
    return {
        "target": f"{info.target} ({info.architecture}, {info.parameters / 1e6:.1f}M parameters)",
        "draft model": draft,
        "drafters": ", ".join(info.drafters) or "none",
        "accept rule": info.accept_rule,
        "speculation": speculation,
        "runner": f"{info.runner}, {info.device}, {info.dtype}",
        "context": f"{info.context} tokens, {info.slots} at once",
        "vocabulary": f"{info.vocab_size} tokens",
        "chat template": "yes" if info.chat_template else "no",
        "memory": f"{info.weight_bytes / 2**20:.0f} MiB weights, {info.cache_bytes / 2**20:.0f} MiB cache",
    }
