"""How an engine is loaded: what to load, on what, and with how much of everything."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from os import PathLike, fspath
from typing import Annotated, Any, Literal, Self, TypedDict, get_args, get_type_hints

from specdec.errors import InvalidRequest
from specdec.types.validation import NUMBER, WHOLE, Bounds, check

AcceptRule = Literal["coupled", "rejection"]
Quantize = Literal["int4", "int8", "fp8"]
QUANTIZED_BITS: Mapping[Quantize, float] = {"int4": 4.25, "int8": 8.01, "fp8": 8.01}
"""Of a weight, with its share of a scale."""
KvDtype = Literal["auto", "fp8"]
Name = str | PathLike[str]


@dataclass(frozen=True, slots=True)
class Meaning:
    """What an option is to the command line, and beside a target that is a server's URL."""

    help: str = ""
    """Of the command line's option; empty: it has none."""
    url: Literal["kept", "ignored", "refused"] = "refused"
    """kept: it means the same there. ignored: the server decides, and naming it does no harm. refused: the server
    decides, and naming it is an error."""


class LoadKeywords(TypedDict, total=False):
    """The fields of LoadOptions but target and draft, as options of a call, where type checkers read them."""

    device: str
    dtype: str
    context: int | None
    slots: int
    accept_rule: AcceptRule
    queue_limit: int
    prefix_cache_bytes: int | None
    remember: int
    tool_format: str
    fetch_draft: bool
    trust_remote_code: bool
    quantize: Quantize | None
    quantize_head: bool
    kv_dtype: KvDtype
    memory_share: float
    api_key: str | None


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """What to load, and how. Raises InvalidRequest for values that no engine can have."""

    target: Annotated[
        str,
        Meaning(
            "Target model: bundled, a folder, a GGUF file, a hub id or a server's URL (http://host:8000/v1).", "kept"
        ),
    ] = "bundled"
    """GGUF files also as owner/repo:Q4_K_M, folder:Q4_K_M or ollama:llama3.1:8b."""
    draft: Annotated[str, Meaning("What drafts: auto, none, lookup, a folder or a hub id.", "kept")] = "auto"
    """"auto": the bundled draft for the bundled target; for every other a head on this machine that was made for it, or
    else lookup in the text so far, which is used beside all of them."""
    device: Annotated[str, Meaning("auto, cpu, cuda, cuda:1, ...")] = "auto"
    dtype: Annotated[str, Meaning("auto, float32, bfloat16 or float16.")] = "auto"
    context: Annotated[int | None, Meaning("Tokens that prompt and answer may fill.", "kept")] = None
    """Default: the model's own, as far as a GPU's memory holds; at most 8192 on CPUs and through transformers."""
    slots: Annotated[int, Meaning(url="kept")] = 4
    """How many requests run at once."""
    accept_rule: Annotated[AcceptRule, Meaning("Accept rule.")] = "coupled"
    queue_limit: Annotated[int, Meaning(url="ignored")] = 256
    """How many requests wait for a slot before EngineBusy."""
    prefix_cache_bytes: Annotated[int | None, Meaning(url="ignored")] = None
    """Memory for what earlier requests computed, for later ones that begin alike. Default: as much as the slots take;
    on a GPU whatever no running request needs. 0: only what free slots hold, and nothing on a GPU."""
    remember: Annotated[int, Meaning(url="ignored")] = 32_768
    """Tokens of recent answers that later ones, whosever they are, may be drafted from (0: none)."""
    tool_format: Annotated[str, Meaning()] = "auto"
    """How the model writes tool calls: "auto" (as its chat template shows), "none", or by a name of `tools.formats`."""
    fetch_draft: Annotated[bool, Meaning("With --draft auto: fetch the head that is published for this target.")] = (
        False
    )
    trust_remote_code: Annotated[bool, Meaning("Run code from the checkpoint.")] = False
    quantize: Annotated[Quantize | None, Meaning("Round weights while they are read: int4, int8 or fp8.")] = None
    """Of the target and its draft model, where they are plain: in 4 bits with a scale for 128 numbers, in 8 for each
    column."""
    quantize_head: Annotated[bool, Meaning("The head too, to 8 bits.")] = False
    kv_dtype: Annotated[KvDtype, Meaning("Keys and values: auto, or fp8 in half the memory (NVIDIA GPUs).")] = "auto"
    """auto: in the precision of the computation. fp8 changes what a model says a little; what it then says is as exact
    as ever, with drafts and without."""
    memory_share: Annotated[float, Meaning(url="ignored")] = 1.0
    """Of the memory that weights leave free on a GPU, for keys and values, where other models come beside. A `context`
    that was asked for gets what it needs all the same."""
    api_key: Annotated[str | None, Meaning(url="kept")] = None
    """Of a server."""

    def __post_init__(self) -> None:
        none_or_more: Bounds = (WHOLE, 0, math.inf, "a whole number 0 or more")
        numbers: list[tuple[str, Any, Bounds]] = [
            ("slots", self.slots, (WHOLE, 1, 1024, "a whole number from 1 to 1024")),
            ("queue_limit", self.queue_limit, (WHOLE, 1, math.inf, "a whole number 1 or more")),
            ("prefix_cache_bytes", self.prefix_cache_bytes or 0, none_or_more),
            ("remember", self.remember, none_or_more),
            ("memory_share", self.memory_share, (NUMBER, 0, 1, "a number from 0 to 1")),
        ]
        check(numbers)
        if self.accept_rule not in get_args(AcceptRule):
            raise InvalidRequest("accept_rule", self.accept_rule, " or ".join(get_args(AcceptRule)))
        if self.quantize not in (None, *get_args(Quantize)):
            raise InvalidRequest("quantize", self.quantize, " or ".join(get_args(Quantize)))
        if self.kv_dtype not in get_args(KvDtype):
            raise InvalidRequest("kv_dtype", self.kv_dtype, " or ".join(get_args(KvDtype)))
        if self.api_key is not None and not self.remote:
            raise InvalidRequest("api_key", "***", "none beside a target that is no URL")

    @classmethod
    def of(cls, target: Name, draft: Name, keywords: LoadKeywords) -> Self:
        """From the arguments of `load`; paths become text."""
        names = {"target": target, "draft": draft}
        for field, value in names.items():
            if not isinstance(value, (str, PathLike)):
                expected = 'a folder, a hub id, or a name such as "bundled", "auto" or "none"'
                raise InvalidRequest(field, value, expected)
        if unknown := keywords.keys() - {f.name for f in fields(cls)}:
            raise TypeError(f"unknown options: {', '.join(sorted(unknown))}")
        return cls(fspath(target), fspath(draft), **keywords)

    @property
    def remote(self) -> bool:
        """Whether the target is a server's URL."""
        return self.target.startswith(("http://", "https://"))

    def changed(self) -> dict[str, Any]:
        """The fields that are not their defaults."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}


MEANINGS: Mapping[str, Meaning] = {
    name: next(about for about in hint.__metadata__ if isinstance(about, Meaning))
    for name, hint in get_type_hints(LoadOptions, include_extras=True).items()
}
"""Of every field of LoadOptions."""
