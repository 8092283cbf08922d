"""`specdec info`: what an engine would be made of."""

from __future__ import annotations

from dataclasses import asdict

from specdec.cli import options as o
from specdec.cli.jsonable import print_json
from specdec.cli.screen import facts_table, loaded, stdout
from specdec.types import LoadOptions

_ONE = LoadOptions(slots=1)


@o.command
def info(loading: LoadOptions = _ONE, json: o.Json = False) -> None:
    """Load a target with what drafts for it, and say what they are."""
    with loaded(loading) as engine:
        info = engine.info
    off, context = info.speculation_unavailable, f"{info.context} tokens"
    if json:
        print_json(asdict(info))
        return
    if info.device == "remote":
        speculation = f"off: {off}" if off else "on" if info.drafters else "the server does not say"
        facts = {"target": info.target, "server": info.backend, "speculation": speculation, "context": context}
    else:
        facts = {
            "target": f"{info.target} ({info.architecture}, {info.parameters / 1e6:.1f}M parameters)",
            "draft model": f"{info.draft} ({info.draft_parameters / 1e6:.1f}M parameters)" if info.draft else "none",
            "drafters": ", ".join(info.drafters) or "none",
            "accept rule": info.accept_rule,
            "speculation": f"off: {off}" if off else "available",
            "backend": f"{info.backend}, {info.device}, {info.dtype}",
            "weights": info.weight_format or info.dtype,
            "context": f"{context}, {info.slots} at once",
            "vocabulary": f"{info.vocab_size} tokens",
            "chat template": "yes" if info.chat_template else "no",
            "memory": f"{info.weight_bytes / 2**20:.0f} MiB weights, {info.cache_bytes / 2**20:.0f} MiB cache",
        }
    stdout().print(facts_table(facts))
