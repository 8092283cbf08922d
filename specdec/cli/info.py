"""`specdec info`: what an engine would be made of."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict
from functools import partial
from typing import Annotated

import typer
from rich.table import Table

from specdec.cli import options as o
from specdec.cli.jsonable import print_json
from specdec.cli.screen import facts_table, loaded, stdout
from specdec.errors import InvalidRequest, UnsupportedModel
from specdec.types import LoadOptions

_ONE = LoadOptions(slots=1)
_GIB = 2**30


@o.command
def info(
    loading: LoadOptions = _ONE,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Load nothing; say what memory the target takes.")] = False,
    json: o.Json = False,
) -> None:
    """Load a target with what drafts for it, and say what they are."""
    if dry_run:
        _foretell(loading, json=json)
        return
    with loaded(loading) as engine:
        info = engine.info
    off, context = info.speculation_unavailable, f"{info.context} tokens"
    context = context if info.context_known else f"unknown; {context} assumed"
    kept = "" if info.kv_dtype == "auto" else f" in {info.kv_dtype}"
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
            "memory": f"{info.weight_bytes / 2**20:.0f} MiB weights, {info.cache_bytes / 2**20:.0f} MiB cache{kept}",
        }
    stdout().print(facts_table(facts))


def _foretell(loading: LoadOptions, *, json: bool) -> None:
    """What the target would take, by the format of its weights."""
    import torch

    from specdec.decoding.assembly import folder_of
    from specdec.models.loading import foretold, pick_device
    from specdec.models.memory import free_bytes

    if loading.remote:
        raise InvalidRequest("target", loading.target, "a folder or a hub id: a server's memory is its own")
    ask = partial(
        foretold,
        folder_of(loading.target, "target"),
        dtype=loading.dtype,
        context=loading.context,
        slots=loading.slots,
        trust_remote_code=loading.trust_remote_code,
        quantize_head=loading.quantize_head,
    )
    needs, device = ask(device=loading.device), pick_device(loading.device)
    if device.type == "cpu" and loading.device == "auto":
        with suppress(UnsupportedModel):  # some GGUF files run by llama.cpp alone
            needs |= {f"on a GPU: {name}": one for name, one in ask(device=torch.device("cuda")).items()}
    if json:
        print_json({name: asdict(one) | {"total": one.total} for name, one in needs.items()})
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in ("weights in", "weights", "keys and values", "of tokens", "at work", "GiB together"):
        table.add_column(column, justify="left" if column == "weights in" else "right")
    for name, one in needs.items():
        weights, cache, spare, total = (f"{part / _GIB:.2f}" for part in (one.weights, one.cache, one.spare, one.total))
        table.add_row(name, weights, cache, f"{loading.slots * one.context:,}", spare, total)
    stdout().print(table)
    stdout().print(f"free on {device}: {free_bytes(device) / _GIB:.1f} GiB", style="dim")
