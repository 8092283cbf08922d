"""What a round with a head costs on this GPU beside a plain pass, at the shapes of a real target and published heads.

    python -m benchmarks.heads --json heads.json
    python -m benchmarks.heads --sizes tiny --device cpu       # the same at sizes that a CPU can bear
    python -m benchmarks.heads --trained HEAD                  # made by `specdec train bundled --out HEAD`

The weights of the heads are random, so they are hostile: nearly nothing is accepted, and `auto` must not be slower than
plain decoding. A round's time does not depend on what is accepted. Trained heads are put into the shape of published
ones (`benchmarks.shapes`), and compared with the bundled draft model in its larger shape.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu import Row, Work, copy_bandwidth, load, measure, ours, prompts_of, read_bytes, show
from benchmarks.shapes import PAIRS, EmbeddedHead, Size
from specdec.bundled import path as bundled
from specdec.decoding.assembly import assemble
from specdec.drafters.heads.checkpoint import HeadTensors
from specdec.drafters.heads.config import method_of, read
from specdec.drafters.heads.drafter import HeadDrafter
from specdec.drafters.heads.loading import head_of
from specdec.drafters.model import DraftModelDrafter
from specdec.models.base import Model
from specdec.models.weights.dense import dense
from specdec.text.tokenizer import Tokenizer
from specdec.types import LoadOptions

LENGTHS = {"dflash": (15,), "eagle3": (4,)}
"""Kinds of heads, and how many drafts a round."""
LAYERS = {"dflash": 5, "eagle3": 1}
"""Of those that are published."""


@dataclass(frozen=True, slots=True)
class HeadCost:
    """One head's rounds beside plain passes of the same run."""

    kind: str
    drafts: int
    plain_ms: float
    draft_ms: float
    verify_ms: float
    ratio: float
    """A round's time by that of a plain pass."""
    auto: float
    """Tokens per second of `auto` by those of plain decoding."""
    possible: float
    """Tokens per second by those of plain decoding, of what the acceptance length by `ratio` allows."""
    same_text: bool
    gigabytes: float
    """Of its weights and cache."""
    taken: float
    """By which the device's memory grew for it, in gigabytes; on a CPU that is not known, and 0."""


class RandomTensors(HeadTensors):
    """Tensors of a head that was never trained, made where they are asked for."""

    def __init__(self, folder: Path, device: torch.device, dtype: torch.dtype, draft_vocab: int) -> None:
        self.folder, self._device, self._dtype, self.make = folder, device, dtype, dense
        self._draft_vocab = draft_vocab
        self.parameters = self.nbytes = 0

    def __contains__(self, name: str) -> bool:
        own = self._draft_vocab > 0 and name in ("lm_head.weight", "d2t")
        return own or name == "midlayer.hidden_norm.weight" or (not self._draft_vocab and "q_norm" in name)

    def raw(self, name: str) -> Tensor:
        assert name == "d2t"
        return torch.zeros(self._draft_vocab, dtype=torch.int64)

    def tensor(self, name: str, *shape: int) -> Tensor:
        values = torch.randn(shape, dtype=self._dtype, device=self._device) * 0.02
        return self._counted(1 + values if "norm" in name else values)


class EmbeddedTensors(HeadTensors):
    """Those of a trained head in a larger shape."""

    def __init__(self, folder: Path, size: Size, target: Model, draft_vocab: int) -> None:
        super().__init__(folder, target.info.device, target.info.dtype)
        self._inside, self._draft_vocab = EmbeddedHead(folder, size, target.info.device), draft_vocab

    def __contains__(self, name: str) -> bool:
        return name == "d2t" or name in self._inside

    def raw(self, name: str) -> Tensor:
        if name != "d2t":
            return super().raw(name)
        return self._inside.ids(self._draft_vocab) - torch.arange(self._draft_vocab)

    def tensor(self, name: str, *shape: int) -> Tensor:
        return self._counted(self._inside.get(name, shape).to(self._dtype))


def config_of(kind: str, size: Size) -> dict[str, Any]:
    """Of a head of the published size: 5 layers and blocks of 16, or one layer and a small vocabulary."""
    shape = {
        "hidden_size": size.hidden,
        "intermediate_size": size.intermediate,
        "num_attention_heads": size.heads,
        "num_key_value_heads": size.kv_heads,
        "head_dim": size.head_dim,
        "vocab_size": size.vocab,
        "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-5,
    }
    if kind == "eagle3":
        more = {"model_type": "llama", "num_hidden_layers": LAYERS[kind], "draft_vocab_size": _draft_vocab(size)}
        return {**shape, **more, "architectures": ["LlamaForCausalLMEagle3"]}
    sizes = {"num_hidden_layers": LAYERS[kind], "block_size": 16, "num_target_layers": size.layers}
    more, inner = {"model_type": "qwen3", **sizes}, {"mask_token_id": 5}
    return {**shape, **more, "architectures": ["DFlashDraftModel"], "dflash_config": inner}


def _draft_vocab(size: Size) -> int:
    return min(32000, size.vocab // 2)


def random_head(kind: str, size: Size, target: Model) -> HeadDrafter:
    """A head of that kind for this target."""
    ends, info = target.ends, target.info
    assert ends is not None
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(config_of(kind, size)))
        config = read(Path(folder), ends.layers)
        own = config.draft_vocab if config.draft_vocab < size.vocab else 0
        return head_of(config, RandomTensors(Path(folder), info.device, info.dtype, own), target, ends, kind)


def trained_head(folder: Path, size: Size, target: Model) -> HeadDrafter:
    """The head in `folder`, in the shape of a published one for this target."""
    ends = target.ends
    assert ends is not None
    kind = method_of(folder)
    assert kind in LAYERS, f"{folder} holds {kind}; expected a head of one of {sorted(LAYERS)}"
    vocab = _draft_vocab(size) if kind == "eagle3" else size.vocab
    with tempfile.TemporaryDirectory() as written:
        config = EmbeddedHead(folder, size, target.info.device).config(LAYERS[kind], vocab)
        (Path(written) / "config.json").write_text(json.dumps(config))
        tensors = EmbeddedTensors(folder, size, target, vocab)
        return head_of(read(Path(written), ends.layers), tensors, target, ends, f"{kind} of {folder.name}")


def beside_draft(folders: Sequence[Path], name: str, target: Model, work: Work, lengths: Sequence[int]) -> list[Row]:
    """Each head, and the draft model of that pair, over one target in one run."""
    tokenizer, size = Tokenizer.load(bundled("target")), PAIRS[name][0]
    draft = load(PAIRS[name][1], "draft", target.info.device, target.info.dtype, 1)
    drafters = {"draft model": DraftModelDrafter.over(draft, target)}
    rows: list[Row] = []
    for label, drafter in (drafters | {f.name: trained_head(f, size, target) for f in folders}).items():
        options = LoadOptions("target", prefix_cache_bytes=0, remember=0)
        with assemble(options, target, drafter, tokenizer, eos_ids=frozenset()) as engine:
            rows += (replace(row, system=f"{label}: {row.system}") for row in ours(engine, work, lengths))
    return rows


def costs(kind: str, size: Size, target: Model, work: Work) -> Iterator[HeadCost]:
    before, options = _allocated(target.info.device), LoadOptions("target", "none", prefix_cache_bytes=0)
    drafter = random_head(kind, size, target)
    own, taken = drafter.weight_bytes + drafter.cache_bytes, _allocated(target.info.device) - before
    with assemble(options, target, drafter, Tokenizer.load(bundled("target")), eos_ids=frozenset()) as engine:
        plain, texts = measure(engine, work, "plain", 0.0, "off", None)
        auto = measure(engine, work, "auto", 0.0, "auto", texts)[0]
        for k in LENGTHS[kind]:
            row = measure(engine, work, f"k={k}", 0.0, k, texts)[0]
            yield cost(kind, k, plain, auto, row, own=own, taken=taken)


def _allocated(device: torch.device) -> int:
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else 0


def cost(kind: str, k: int, plain: Row, auto: Row, row: Row, *, own: int, taken: int) -> HeadCost:
    """From what was measured, in bytes, without drafts, with `auto`, and with k of them."""
    ratio = (row.draft_ms + row.verify_ms) / plain.verify_ms
    return HeadCost(
        kind,
        k,
        plain.verify_ms,
        row.draft_ms,
        row.verify_ms,
        ratio,
        auto.tokens_per_second / plain.tokens_per_second,
        row.tokens_per_second / plain.tokens_per_second / (row.acceptance_length / ratio),
        bool(auto.same_text and row.same_text),
        own / 1e9,
        taken / 1e9,
    )


def parsed(given: Sequence[str] | None = None) -> argparse.Namespace:
    cuda = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", choices=sorted(PAIRS), default="8b" if cuda else "tiny")
    parser.add_argument("--device", default="cuda:0" if cuda else "cpu")
    parser.add_argument("--dtype", default="bfloat16" if cuda else "float32")
    parser.add_argument("--kinds", nargs="*", choices=sorted(LENGTHS), default=sorted(LENGTHS))
    parser.add_argument("--trained", type=Path, nargs="*", default=(), help="heads for the bundled target, instead")
    parser.add_argument("--lengths", type=int, nargs="*", default=(4,), help="numbers of drafted tokens of those")
    parser.add_argument("--prompts", type=int, default=4, help="how many")
    parser.add_argument("--tokens", type=int, default=192, help="of each answer")
    parser.add_argument("--json", type=Path, help="where to write all figures")
    return parser.parse_args(given)


@torch.inference_mode()
def run(arguments: argparse.Namespace) -> list[HeadCost] | list[Row]:
    size, device = PAIRS[arguments.sizes][0], torch.device(arguments.device)
    target = load(size, "target", device, getattr(torch, arguments.dtype), 1)
    work = Work(prompts_of(Tokenizer.load(bundled("target")), arguments.prompts), arguments.tokens)
    if arguments.trained:
        rows = beside_draft(arguments.trained, arguments.sizes, target, work, arguments.lengths)
        show(rows, read_bytes(target) / copy_bandwidth(device) * 1000)
        return rows
    found: list[HeadCost] = []
    print("kind     drafts  plain ms  draft ms  verify ms  ratio   auto  possible  same    GB  taken", flush=True)
    for kind in arguments.kinds:
        for c in costs(kind, size, target, work):
            found.append(c)
            times = f"{c.plain_ms:9.3f} {c.draft_ms:9.3f} {c.verify_ms:10.3f} {c.ratio:6.3f} {c.auto:6.3f}"
            rest = f"{c.possible:9.1%} {c.same_text!s:>5} {c.gigabytes:5.2f} {c.taken:6.2f}"
            print(f"{c.kind:8} {c.drafts:6} {times} {rest}", flush=True)
    return found


def main() -> None:
    arguments = parsed()
    found = run(arguments)
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(row) for row in found], indent=1))


if __name__ == "__main__":
    main()
