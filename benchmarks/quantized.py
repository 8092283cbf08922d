"""Passes of a model in 4 and 8 bits beside the same model in 16, in one run on this GPU.

    python -m benchmarks.quantized --sizes 8b --json quantized.json
    python -m benchmarks.quantized --sizes tiny --device cpu    # whether it runs

The weights are rounded while they are made (`benchmarks.shapes`). Checks too that a prompt gives the same bits in
whichever pieces it is read. With a draft, and texts: `python -m benchmarks.gpu --quantize int4`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import torch

from benchmarks import gpu, prompts
from benchmarks.shapes import PAIRS
from specdec.types.load import Quantize

ROWS = (1, 2, 6, 16, 17)
PROMPT = 2048


@torch.inference_mode()
def measured(name: str, to: Quantize | None, head: bool, device: torch.device, prompt: int) -> dict[str, Any]:
    """One format, its `head` in 8 bits or not: milliseconds a pass by rows, tokens a second of a prompt, bytes, and
    whether bits hold."""
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    size, context = PAIRS[name][0], max(prompt, 420) + 64
    model = gpu.load(size, "target", device, dtype, 2, context=context, quantize=to, quantize_head=head)
    ids = prompts.prompt(prompt).to(device)
    prompts.read(model, ids, [prompt])
    while model.prepare():  # the prompt's graph
        pass
    seconds = gpu.median(lambda: prompts.read(model, ids, [prompt]), device, repeats=3)
    return {
        "format": model.info.weight_format,
        "bytes": model.info.weight_bytes,
        "pass_ms": {rows: gpu.pass_ms(model, rows) for rows in ROWS},
        "prompt": prompt / seconds,
        "same_bits": prompts.same_bits(model, prompt),
    }


def run(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    device, found = torch.device(arguments.device), list[dict[str, Any]]()
    print(
        f"{'weights in':36s}{'GiB':>7s}" + "".join(f"{f'{rows} rows':>9s}" for rows in ROWS) + "    x    prompt  bits"
    )
    for to in (None, *arguments.formats):
        head = arguments.quantize_head and to is not None
        one = measured(arguments.sizes, to, head, device, arguments.prompt)
        found.append(one)
        times = "".join(f"{one['pass_ms'][rows]:9.3f}" for rows in ROWS)
        gain = found[0]["pass_ms"][1] / one["pass_ms"][1]
        same = "same" if one["same_bits"] else "DIFFER"
        print(
            f"{one['format']:36s}{one['bytes'] / 2**30:7.2f}{times}{gain:5.2f}{one['prompt']:10.0f}  {same}", flush=True
        )
        if device.type == "cuda":
            torch.cuda.empty_cache()
    return found


def parsed(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", choices=sorted(PAIRS), default="8b")
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--formats", nargs="*", choices=get_args(Quantize), default=get_args(Quantize))
    parser.add_argument("--quantize-head", action="store_true", help="the head as well, to 8 bits")
    parser.add_argument("--prompt", type=int, default=PROMPT, help="tokens of a prompt")
    parser.add_argument("--json", type=Path, help="where to write all figures")
    return parser.parse_args(given)


if __name__ == "__main__":
    asked = parsed()
    figures = run(asked)
    if asked.json:
        asked.json.write_text(json.dumps(figures, indent=1))
