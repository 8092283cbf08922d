"""`specdec quantize`: a checkpoint in fewer bits, and what that costs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from specdec.cli import options as o
from specdec.cli.jsonable import print_json
from specdec.cli.screen import facts_table, stderr, stdout
from specdec.types.load import Quantize

EPILOG = """
`--quantize` of other commands rounds in the same way while a model is loaded, and writes nothing.
"""
_CONTEXT = 2048


@o.command
def quantize(
    model: Annotated[str, typer.Argument(help="bundled, a folder or a hub id, in 16 bits.")],
    folder: Annotated[Path, typer.Argument(help="Where it is written, as compressed-tensors.")],
    to: Annotated[Quantize, typer.Option(help="int4 (a scale for 128 numbers), int8 or fp8 (one a column).")] = "int4",
    head: Annotated[bool, typer.Option("--head", help="The head too, in 8 bits.")] = False,
    text: Annotated[Path | None, typer.Option(help="To measure perplexity on; else the built-in prompts.")] = None,
    tokens: Annotated[int, typer.Option(min=2, help="Of the text, at most.")] = 8192,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    json: o.Json = False,
) -> None:
    """Round a model's weights to 4 or 8 bits, write the result to FOLDER, and say what it costs: bytes and perplexity
    before and after. transformers loads FOLDER too."""
    from specdec.bench.prompts import built_in
    from specdec.decoding.assembly import folder_of
    from specdec.models.loading import pick_device
    from specdec.models.weights.export import export
    from specdec.text.tokenizer import Tokenizer

    source = folder_of(model, "target")
    read = o.text_of("text", text) if text else "\n\n".join(str(m.content) for p in built_in() for m in p.messages)
    export(source, folder, to, head=head, device=pick_device(device))
    stderr().print(f"written to {folder}; reading a text with both", style="dim")
    ids = Tokenizer.load(source).encode(read)[:tokens]
    facts = {name: _measured(path, device, ids) for name, path in (("before", source), ("after", folder))}
    found = {f"{fact}_{name}": value for name, both in facts.items() for fact, value in both.items()}
    if json:
        print_json({"model": model, "folder": str(folder), "to": to, "head": head, "tokens": len(ids), **found})
        return
    stdout().print(
        facts_table(
            {
                "weights": f"{found['bytes_before'] / 2**20:.0f} MiB before, {found['bytes_after'] / 2**20:.0f} after",
                "perplexity": f"{found['perplexity_before']:.4g} before, {found['perplexity_after']:.4g} after, on "
                f"{len(ids)} tokens",
            }
        )
    )


def _measured(path: Path, device: str, ids: list[int]) -> dict[str, float]:
    from specdec.bench.perplexity import perplexity
    from specdec.models.loading import load_model
    from specdec.models.weights.sources import positions

    size = sum(file.stat().st_size for file in path.glob("*.safetensors"))
    loaded = load_model(path, device=device, context=min(_CONTEXT, positions(path) or _CONTEXT))
    return {"bytes": size, "perplexity": perplexity(loaded, ids)}
