"""Write trained weights as the folders that Transformers reads.

Contract: `specdec/bundled/<name>/` gets config, generation config, tokenizer, template, model card and bfloat16 shards
each small enough for any host; loading them with `AutoModelForCausalLM` and `AutoTokenizer` needs nothing else.
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoTokenizer, GenerationConfig, LlamaConfig, LlamaForCausalLM

from .chat import END, END_OF_TEXT
from .model import TARGET, TINY, Shape
from .train import stored

SHAPES = {"target": TARGET, "tiny": TINY}


def configured(shape: Shape, end: int, stop: int) -> LlamaConfig:
    """The configuration of a shape."""
    numbers = shape.config()
    theta = numbers.pop("rope_theta")
    made = LlamaConfig(**numbers, bos_token_id=None, eos_token_id=end, pad_token_id=stop, dtype=torch.bfloat16)
    made.rope_parameters = {"rope_type": "default", "rope_theta": theta}
    return made


def mean(weights: Sequence[Path]) -> dict[str, Tensor]:
    """The mean of runs that began at the same weights (Wortsman et al. 2022, "Model soups")."""
    states = [stored(path) for path in weights]
    return {name: torch.stack([state[name].float() for state in states]).mean(0) for name in states[0]}


def write(shape: Shape, weights: Sequence[Path], tokenizer_folder: Path, out: Path, shard: str) -> None:
    """One model folder."""
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    end, stop = tokenizer.convert_tokens_to_ids([END, END_OF_TEXT])
    model = LlamaForCausalLM(configured(shape, end, stop))
    missing, unknown = model.load_state_dict(mean(weights), strict=False)
    if unknown or set(missing) - {"lm_head.weight"}:
        raise SystemExit(f"{[*map(str, weights)]} does not fit: missing {missing}, unknown {unknown}")
    model.tie_weights()
    model.generation_config = GenerationConfig(bos_token_id=None, eos_token_id=[end, stop], pad_token_id=stop)
    for old in out.glob("*.safetensors*"):
        old.unlink()
    model.to(torch.bfloat16).save_pretrained(out, max_shard_size=shard)
    tokenizer.save_pretrained(out)


def main() -> None:
    """Package a model."""
    args = argparse.ArgumentParser(description=main.__doc__)
    args.add_argument("--shape", choices=sorted(SHAPES), required=True)
    args.add_argument("--weights", type=Path, required=True, nargs="+", help="of several, the mean is packaged")
    args.add_argument("--tokenizer", type=Path, required=True)
    args.add_argument("--out", type=Path, required=True)
    args.add_argument("--card", type=Path, help="a README.md to put beside the weights")
    args.add_argument("--shard", default="12MB")
    given = args.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    write(SHAPES[given.shape], given.weights, given.tokenizer, given.out, given.shard)
    if given.card:
        shutil.copy(given.card, given.out / "README.md")


if __name__ == "__main__":
    main()
