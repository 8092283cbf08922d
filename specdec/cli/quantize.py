"""`specdec quantize`: a checkpoint in fewer bits, and what that costs."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Annotated

import typer

from specdec.cli import options as o
from specdec.cli.jsonable import print_json
from specdec.cli.screen import facts_table, stderr, stdout
from specdec.errors import InvalidRequest, NotEnoughMemory
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
    ids = Tokenizer.load(source).encode(read)[:tokens]
    if len(ids) < 2:
        raise InvalidRequest("text", str(text), "a file of two tokens at least")
    export(source, folder, to, head=head, device=pick_device(device))
    stderr().print(f"written to {folder}; reading a text with both", style="dim")
    (size, before), (less, after) = (_measured(path, device, ids) for path in (source, folder))
    if json:
        said = {"model": model, "folder": str(folder), "to": to, "head": head, "tokens": len(ids)}
        said |= {"bytes_before": size, "perplexity_before": before, "bytes_after": less, "perplexity_after": after}
        print_json(said)
        return
    stdout().print(
        facts_table(
            {
                "weights": f"{size / 2**20:.0f} MiB before, {less / 2**20:.0f} after",
                "perplexity": f"{_shown(before)} before, {_shown(after)} after, on {len(ids)} tokens",
            }
        )
    )


def _shown(perplexity: float | None) -> str:
    return "not measured" if perplexity is None else f"{perplexity:.4g}"


def _measured(path: Path, device: str, ids: list[int]) -> tuple[int, float | None]:
    """Bytes and perplexity; None where the device does not hold the model, which may be why it is rounded."""
    import torch

    from specdec.bench.perplexity import perplexity
    from specdec.models.loading import load_model
    from specdec.models.weights.sources import positions

    size = sum(file.stat().st_size for file in path.glob("*.safetensors"))
    gc.collect()
    torch.cuda.empty_cache()  # what the last one took
    try:
        loaded = load_model(path, device=device, context=min(_CONTEXT, positions(path) or _CONTEXT))
    except NotEnoughMemory as error:
        stderr().print(f"not measured: {error}", style="dim", soft_wrap=True)
        return size, None
    return size, perplexity(loaded, ids)
