"""A model small enough to know its distribution by heart, with a cache that notices every wrong rollback.

The logits after a token depend on it and on the one before it, both read back from the slot's cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from tokenizers import Tokenizer as Backend
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from specdec.decoding.engine import LocalEngine, Parts
from specdec.drafters.base import Drafter
from specdec.drafters.forced import GrammarDrafter
from specdec.drafters.lookup import LookupDrafter
from specdec.drafters.memory import MemoryDrafter
from specdec.drafters.model import DraftModelDrafter
from specdec.drafters.prediction import PredictionDrafter
from specdec.models.base import Batch, Model, ModelInfo, Pass
from specdec.models.pages import JUNK, PagedPrefixes, PoolFull
from specdec.models.prefixes import PrefixTree
from specdec.models.state import SlotState
from specdec.text.tokenizer import Tokenizer
from specdec.text.tools.formats import TOOL_FORMATS, AnswerFormat
from specdec.types import MAX_SPECULATIVE_TOKENS, AcceptRule, EngineInfo

EOS = 256
VOCAB = 257
TOKEN_BYTES = 8
"""What a token takes in its cache."""
TEMPLATE = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
CPU = torch.device("cpu")


class ToyModel:
    """Second-order Markov model; `sharpness` scales its logits."""

    def __init__(self, seed: int = 0, sharpness: float = 3.0, slots: int = 4, context: int = 256) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.first = torch.randn(VOCAB, VOCAB, generator=generator) * sharpness
        self.second = torch.randn(VOCAB, VOCAB, generator=generator) * sharpness / 2
        for table in (self.first, self.second):
            table[:, EOS] -= sharpness  # answers of some length
        self.cache = torch.full((slots, context + MAX_SPECULATIVE_TOKENS + 1), -1)
        self.passes = 0
        self.fail_at: int | None = None
        self.full_above: int | None = None
        """Rows at once for which there is memory; None: as many as there are slots."""
        self.info = ModelInfo("toy", "Toy", "toy", VOCAB, context, slots, CPU, torch.float32, 0, 0, 0)
        self.state = SlotState(slots, PrefixTree(self.keys_values))
        self.device = self.ends = None

    def warm_up(self, features: tuple[int, ...] = ()) -> None:
        pass

    def prepare(self) -> bool:
        return False

    def logits_after(self, tokens: Sequence[int]) -> Tensor:
        """[V], the reference."""
        before = tokens[-2] if len(tokens) > 1 else EOS
        return self.first[tokens[-1]] + self.second[before]

    def run(self, batch: Batch) -> Pass:
        self.passes += 1
        if self.fail_at is not None and self.passes >= self.fail_at:
            raise RuntimeError("the toy broke")
        if self.full_above is not None and len(batch.slots) > self.full_above:
            raise torch.OutOfMemoryError("the toy is full")
        rows = []
        for row, slot, start in zip(batch.tokens, batch.slots, batch.starts, strict=True):
            end = start + len(row)
            held = self.held(slot, start, row)
            assert (held >= 0).all(), "read a position that was never written"
            before = torch.cat([torch.tensor([EOS]), held[:-1]])
            rows.append((self.first[held] + self.second[before])[end - batch.keep :])
        return Pass(torch.stack(rows))

    def held(self, slot: int, start: int, new: Tensor) -> Tensor:
        """All that the slot holds after `new` tokens from `start` on."""
        self.cache[slot, start : start + len(new)] = new
        return self.cache[slot, : start + len(new)]

    def keys_values(self, slot: int, start: int, end: int) -> tuple[Tensor, ...]:
        return (self.cache[slot, start:end].view(-1, 1),)


class PagedToy(ToyModel):
    """The same over pages, of which there may be fewer than its slots could fill (see `pages.PageMemory`)."""

    page = 4
    page_bytes = page * TOKEN_BYTES

    def __init__(self, count: int, window: int | None = None, **options: Any) -> None:
        super().__init__(**options)
        self.count = count
        self.pages = torch.full((count, self.page), -1)
        self.table = [[JUNK] * (self.cache.shape[1] // self.page + 1) for _ in range(self.info.slots)]
        self.copied = 0
        self.state = SlotState(self.info.slots, PagedPrefixes(self, self.info.slots, window))

    def point(self, slot: int, first: int, pages: Sequence[int]) -> None:
        self.table[slot][first : first + len(pages)] = pages

    def copy(self, source: int, target: int) -> None:
        self.pages[target] = self.pages[source]
        self.copied += 1

    def held(self, slot: int, start: int, new: Tensor) -> Tensor:
        end = start + len(new)
        if not self.state.prefixes.reserve(slot, start, end):
            raise PoolFull
        table = torch.tensor(self.table[slot])
        at = torch.arange(end)
        places = table[at // self.page], at % self.page
        self.pages[places[0][start:], places[1][start:]] = new
        return self.pages[places]


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte, and an end."""
    vocabulary = {c: i for i, c in enumerate(sorted(ByteLevel.alphabet()))}
    backend = Backend(BPE(vocabulary, []))
    backend.pre_tokenizer = ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = ByteLevelDecoder()
    fast = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<end>")
    assert fast.eos_token_id == EOS
    return fast


def drafters(kind: str, target: ToyModel) -> list[Drafter]:
    """`perfect` agrees always, `hostile` hardly ever, `near` most of the time."""
    if kind == "none":
        return []
    if kind == "grammar":
        return [GrammarDrafter()]
    if kind == "lookup":
        return [LookupDrafter()]
    if kind == "memory":
        return [MemoryDrafter(500)]
    if kind == "prediction":
        return [PredictionDrafter()]
    if kind not in ("perfect", "near", "hostile"):
        raise ValueError(f"no kind of drafter is {kind!r}")
    draft = ToyModel(0 if kind == "perfect" else 99, slots=target.info.slots, context=target.info.context)
    if kind == "near":
        draft.first, draft.second = target.first + 0.15 * draft.first, target.second
    elif kind == "perfect":
        draft.first, draft.second = target.first, target.second
    draft.state.prefixes.limit = 1000 * TOKEN_BYTES
    return [DraftModelDrafter(draft, VOCAB, CPU)]


def toy_engine(
    *kinds: str,
    target: Model | None = None,
    accept_rule: AcceptRule = "coupled",
    slots: int = 4,
    kept: int = 1000,
    queue_limit: int = 256,
    answer_format: AnswerFormat | None = None,
    template: str = "",
) -> LocalEngine:
    runner = target or ToyModel(slots=slots)
    runner.state.prefixes.limit = kept * TOKEN_BYTES
    chosen = [d for kind in kinds for d in drafters(kind, runner)]  # type: ignore[arg-type]
    info = EngineInfo(
        target="toy", draft=None, architecture="Toy", backend="toy", device="cpu", dtype="float32",
        context=runner.info.context, vocab_size=VOCAB, slots=runner.info.slots,
        drafters=tuple(d.name for d in chosen), accept_rule=accept_rule, chat_template=bool(template),
        parameters=0, draft_parameters=0, weight_bytes=0, cache_bytes=0,
    )  # fmt: skip
    backing = byte_tokenizer()
    backing.chat_template = template or None
    return LocalEngine(Parts(
        runner, Tokenizer(backing), chosen, info, {}, frozenset({EOS}), accept_rule, queue_limit,
        answer_format or AnswerFormat(),
    ))  # fmt: skip


THINK = ("<think>", "</think>")
THINKING = "{{ messages[0].content }}:{{ '<think></think>' if thinking is false else '<think>\n' if thinking }}"
"""A template that may open a thought, or close it at once."""


def thinking_engine() -> LocalEngine:
    """One that ends a thought now and then, as a random model would hardly ever."""
    target, ending = ToyModel(context=512), byte_tokenizer().encode(THINK[1])
    for letter, following in pairwise(ending):
        target.first[letter, following] += 60
    target.first[:, ending[0]] += 4
    answer_format = AnswerFormat(TOOL_FORMATS["hermes"], THINK)
    return toy_engine("near", "grammar", answer_format=answer_format, template=THINKING, target=target)
