"""Assembles a LocalEngine from the names of its models."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch

from specdec.decoding.engine import LocalEngine, Parts
from specdec.drafters.base import Drafter, LoadedDrafter
from specdec.drafters.forced import GrammarDrafter
from specdec.drafters.heads.config import method_of
from specdec.drafters.heads.finding import local_heads, published
from specdec.drafters.heads.loading import check_head, foretold_bytes, load_head, with_weights
from specdec.drafters.lookup import LookupDrafter
from specdec.drafters.memory import MemoryDrafter
from specdec.drafters.model import DraftModelDrafter
from specdec.drafters.prediction import PredictionDrafter
from specdec.drafters.translated import TranslatedDrafter
from specdec.engine import Progress
from specdec.errors import LoadError, TokenizerMismatch
from specdec.models.base import Model, ModelInfo
from specdec.models.generation_config import generation_defaults
from specdec.models.loading import can_round, described, load_model
from specdec.models.state import SlotState
from specdec.models.weights.checkpoint import read_config, resolve
from specdec.text.tokenizer import Tokenizer, check_same_tokens
from specdec.text.tools.formats import AnswerFormat
from specdec.text.tools.template import ResponseTemplate
from specdec.types import EngineInfo, LoadOptions

BUNDLED = "bundled"


def load_local(options: LoadOptions, progress: Progress) -> LocalEngine:
    """See `specdec.load`."""
    progress("target", 0.0)
    path = folder_of(options.target, "target")
    if path.is_dir():  # else the tokenizer, which reads it too, would be blamed for a config that is wrong
        read_config(path, trust_remote_code=options.trust_remote_code)
    tokenizer = Tokenizer.load(path, trust_remote_code=options.trust_remote_code)
    described = tokenizer.response_template if options.tool_format == "auto" else None
    template = ResponseTemplate.of(described, tokenizer.special_names)
    answer_format = AnswerFormat.of(options.tool_format, tokenizer.template, tokenizer.added, template)
    beside, head = _draft_folder(options), _head(options, path)
    target = load_model(
        path,
        name=options.target,
        device=options.device,
        dtype=options.dtype,
        context=options.context,
        slots=options.slots,
        trust_remote_code=options.trust_remote_code,
        quantize=options.quantize,
        quantize_head=options.quantize_head,
        kv_dtype=options.kv_dtype,
        beside=None if head else beside,
        reserved=foretold_bytes(head[1], path, options.slots) if head else 0,
        share=options.memory_share,
    )
    progress("draft", 0.6)
    draft = _draft(options, tokenizer, target, head)
    defaults, eos_ids = generation_defaults(path)
    progress("warm-up", 0.9)
    engine = assemble(
        options,
        target,
        draft,
        tokenizer,
        answer_format=answer_format,
        defaults=defaults,
        eos_ids=frozenset(eos_ids or tokenizer.eos_ids),
    )
    progress("ready", 1.0)
    return engine


def assemble(
    options: LoadOptions,
    target: Model,
    draft: LoadedDrafter | None,
    tokenizer: Tokenizer,
    *,
    eos_ids: frozenset[int],
    answer_format: AnswerFormat | None = None,
    defaults: Mapping[str, float] | None = None,
    alone: bool = False,
) -> LocalEngine:
    """An engine over a target and, on the same device and slots, a draft model or a head.

    `alone`: see `RoundRunner`."""
    kept = [(target.state, target.info.cache_bytes), *([(draft.state, draft.cache_bytes)] if draft else [])]
    _share_prefix_bytes(options.prefix_cache_bytes, kept, target.info.device)
    drafters: list[Drafter] = [GrammarDrafter(), PredictionDrafter()]
    if options.draft != "none":
        drafters += [LookupDrafter(), *([MemoryDrafter(options.remember)] if options.remember else [])]
    if draft is not None:
        drafters.append(draft)
    writes = answer_format or AnswerFormat()
    info = _info(options, target.info, draft, tokenizer, drafters, writes)
    rule, limit = options.accept_rule, options.queue_limit
    parts = Parts(target, tokenizer, drafters, info, dict(defaults or {}), eos_ids, rule, limit, writes, alone)
    return LocalEngine(parts)


def _info(
    options: LoadOptions,
    target: ModelInfo,
    draft: LoadedDrafter | None,
    tokenizer: Tokenizer,
    drafters: Sequence[Drafter],
    writes: AnswerFormat,
) -> EngineInfo:
    """What the engine is made of, for its users."""
    return EngineInfo(
        target=options.target,
        draft=draft.source if draft else None,
        architecture=target.architecture,
        backend=target.backend,
        device=str(target.device),
        dtype=str(target.dtype).removeprefix("torch."),
        context=target.context,
        vocab_size=target.vocab_size,
        slots=target.slots,
        drafters=tuple(d.name for d in drafters),
        accept_rule=options.accept_rule,
        chat_template=tokenizer.has_chat_template,
        parameters=target.parameters,
        draft_parameters=draft.parameters if draft else 0,
        weight_bytes=target.weight_bytes + (draft.weight_bytes if draft else 0),
        weight_format=target.weight_format,
        kv_dtype=target.kv_dtype,
        cache_bytes=target.cache_bytes + (draft.cache_bytes if draft else 0),
        tool_format=writes.name,
        reasoning=writes.thinks,
        reasoning_levels=tokenizer.reasoning.levels,
        template_variables=tokenizer.reasoning.variables,
        published_draft=next(iter(published(options.target)), None) if options.draft == "auto" and not draft else None,
    )


def _share_prefix_bytes(wanted: int | None, states: Sequence[tuple[SlotState, int]], device: torch.device) -> None:
    """Let the slots of models keep what earlier requests computed, in so many bytes together, and each in the share
    that its slots take."""
    states = [(state, taken) for state, taken in states if wanted is not None or state.prefixes.apart]
    slots = sum(taken for _, taken in states)
    limit = slots if wanted is None else wanted
    if wanted is None and device.type == "cuda":
        limit = min(slots, torch.cuda.mem_get_info(device)[0] // 2)
    for state, taken in states:
        state.prefixes.limit = limit * taken // max(slots, 1)


def folder_of(name: str, role: Literal["target", "draft"]) -> Path:
    """Where a model lies that is named so: the bundled one, a folder, a file, or what is fetched."""
    if name != BUNDLED:
        return resolve(name)
    from specdec.bundled import path

    return path(role)


def _draft(
    options: LoadOptions, tokenizer: Tokenizer, target: Model, head: tuple[str, Path] | None
) -> LoadedDrafter | None:
    """A draft model or a head, on the target's device and over the same slots; None where neither drafts."""
    name = _draft_name(options)
    if head is not None:
        try:
            return load_head(head[1], target, head[0])
        except LoadError as error:
            if name != "auto":
                raise
            _leave_alone(error)
    if (path := _draft_folder(options)) is None:
        return None
    code = options.trust_remote_code
    theirs, rounds = Tokenizer.load(path, trust_remote_code=code), can_round(path, trust_remote_code=code)
    draft = load_model(
        path,
        name=name,
        device=target.info.device,
        dtype=options.dtype,
        slots=target.info.slots,
        trust_remote_code=code,
        quantize=options.quantize if rounds else None,
        quantize_head=options.quantize_head and rounds,
        kv_dtype=options.kv_dtype if described(path, trust_remote_code=code) else "auto",
        most=target.info.context,
        share=options.memory_share,
    )
    try:
        check_same_tokens(tokenizer, theirs, options.target, name)
    except TokenizerMismatch:
        return TranslatedDrafter(draft, theirs, tokenizer)
    return DraftModelDrafter.over(draft, target)


def _head(options: LoadOptions, folder: Path) -> tuple[str, Path] | None:
    """The head that may draft, by name, where there is one that fits the target in `folder`, which is not loaded yet:
    the one that was asked for; else one on this machine; else, if it may be fetched, the one that is published."""
    name = _draft_name(options)
    if name != "auto":
        path = _draft_folder(options)
        if path is None or method_of(path) is None:
            return None
        asked = with_weights(name, path)
        check_head(asked, folder, options.target)
        return name, asked
    found = list(local_heads(options.target, folder))
    if not found and options.fetch_draft:
        found = [(head.name, with_weights(head.name, resolve(head.name))) for head in published(options.target)[:1]]
    for name, at in found:
        try:
            check_head(at, folder, options.target)
        except LoadError as error:
            _leave_alone(error)
        else:
            return name, at
    return None


def _leave_alone(error: LoadError) -> None:
    warnings.warn(f"left alone as a draft: {error}", RuntimeWarning, stacklevel=3)


def _draft_name(options: LoadOptions) -> str:
    return BUNDLED if options.draft == "auto" and options.target == BUNDLED else options.draft


def _draft_folder(options: LoadOptions) -> Path | None:
    name = _draft_name(options)
    return None if name in ("auto", "none", "lookup") else folder_of(name, "draft")
