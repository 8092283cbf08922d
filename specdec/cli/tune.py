"""`specdec tune`: find the fastest tiles of a model's products on this GPU, once, and keep them."""

from __future__ import annotations

from typing import Annotated

import typer

from specdec.cli.options import command
from specdec.cli.screen import stdout
from specdec.errors import DeviceUnavailable, UnsupportedModel


@command
def tune(
    models: Annotated[list[str], typer.Argument(help="Folders or hub ids: the target, the draft, others.")],
    device: Annotated[str, typer.Option(help="Which GPU.")] = "cuda:0",
    dtype: Annotated[str, typer.Option(help="auto, bfloat16, float16 or float32.")] = "auto",
) -> None:
    """Time a few ways to cut each matrix product of MODELS on this GPU, and keep the fastest for later loads.

    Without it a rule chooses, which is good on current GPUs. The text of a seed may change once, since sums change
    their order; plain and speculative text stay equal.
    """
    from specdec.models.loading import load_model, pick_device
    from specdec.models.weights.checkpoint import resolve

    where = pick_device(device)
    if where.type != "cuda":
        raise DeviceUnavailable(f"device is {device!r}; expected a GPU, like cuda:0: only there are tiles to choose")
    for name in models:
        model = load_model(resolve(name), device=where, dtype=dtype, context=64)
        from specdec.kernels.tune import fastest
        from specdec.models.triton.decoder import products_of
        from specdec.models.triton.model import TritonModel

        if not isinstance(model, TritonModel):
            expected = "expected a Llama, Mistral, Qwen2 or Qwen3 model"
            raise UnsupportedModel(f"{name} does not run by kernels here; {expected}")
        products, tiles = products_of(model.inner), model.tiles
        del model  # its memory is needed
        for wanted in products:
            tile = fastest(wanted, where)
            tiles.keep(wanted, tile)
            stdout().print(f"{wanted}: {tile}")
