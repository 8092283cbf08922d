"""What a checkpoint says of generation: how to sample from it, and which tokens end an answer."""

from __future__ import annotations

from pathlib import Path

from specdec.errors import CheckpointCorrupt
from specdec.gguf import is_gguf, open_gguf
from specdec.models.weights.checkpoint import read_json
from specdec.text.gguf import eos_ids

_GGUF_SHAPING = {
    "temperature": "temp",
    "top_k": "top_k",
    "top_p": "top_p",
    "min_p": "min_p",
    "repetition_penalty": "penalty_repeat",
}
SHAPING = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")


def generation_defaults(path: str | Path) -> tuple[dict[str, float], tuple[int, ...]]:
    """What the checkpoint's generation_config says: values for `SamplingParams.with_defaults`, and its end-of-sequence
    ids (else those of config.json; empty when neither names any)."""
    folder = Path(path)
    if is_gguf(folder):
        file = open_gguf(folder)
        said = {name: file.metadata.get(f"general.sampling.{key}") for name, key in _GGUF_SHAPING.items()}
        shaping = {name: value for name, value in said.items() if value is not None}
        return shaping if "temperature" in shaping else {"temperature": 0.0}, eos_ids(file)
    raw = read_json(folder / "generation_config.json") if (folder / "generation_config.json").exists() else {}
    shaping = {key: raw[key] for key in SHAPING if isinstance(raw.get(key), int | float)}
    if not raw.get("do_sample"):  # transformers decodes greedily unless told to sample
        shaping = {key: value for key, value in shaping.items() if key == "repetition_penalty"} | {"temperature": 0.0}
    if ids := _token_ids(raw.get("eos_token_id"), folder):
        return shaping, ids
    config = read_json(folder / "config.json")
    nested = config.get("text_config")
    within = nested.get("eos_token_id") if isinstance(nested, dict) else None
    return shaping, _token_ids(config.get("eos_token_id", within), folder)


def _token_ids(value: object, folder: Path) -> tuple[int, ...]:
    if value is None:
        return ()
    ids = value if isinstance(value, list) else [value]
    if not all(isinstance(i, int) for i in ids):
        raise CheckpointCorrupt(f"{folder}: eos_token_id is {value!r}; expected token ids")
    return tuple(ids)
