"""Assembles a LocalEngine from the names of its models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch

from specdec.decoding.engine import LocalEngine, Parts
from specdec.drafters.base import Drafter
from specdec.drafters.forced import GrammarDrafter
from specdec.drafters.lookup import LookupDrafter
from specdec.drafters.memory import MemoryDrafter
from specdec.drafters.model import DraftModelDrafter
from specdec.drafters.prediction import PredictionDrafter
from specdec.engine import AcceptRule, Progress
from specdec.errors import InvalidRequest
from specdec.models.base import Model
from specdec.models.loading import generation_defaults, load_model
from specdec.models.weights.checkpoint import maximum_positions, read_config, resolve
from specdec.text.tokenizer import Tokenizer, check_same_tokens
from specdec.text.tools.families import Dialect
from specdec.types import EngineInfo

BUNDLED = "bundled"


def load_local(
    target: str,
    draft: str,
    *,
    device: str,
    dtype: str,
    context: int | None,
    slots: int,
    accept_rule: AcceptRule,
    queue_limit: int,
    prefix_cache_bytes: int | None,
    remember: int,
    tool_format: str,
    trust_remote_code: bool,
    progress: Progress,
) -> LocalEngine:
    """See `specdec.load`."""
    _check(slots, accept_rule, queue_limit, prefix_cache_bytes, remember)
    progress("target", 0.0)
    path = _folder(target, "target")
    tokenizer = Tokenizer.load(path, trust_remote_code=trust_remote_code)
    dialect = Dialect.of(tool_format, tokenizer.template, tokenizer.added)
    runner = load_model(
        path, name=target, device=device, dtype=dtype, context=context, slots=slots,
        trust_remote_code=trust_remote_code,
    )  # fmt: skip
    progress("draft", 0.6)
    model = _draft_model(target, draft, tokenizer, runner, dtype, trust_remote_code)
    defaults, eos_ids = generation_defaults(path)
    progress("warm-up", 0.9)
    engine = assemble(
        target, runner, model, tokenizer, lookup=draft != "none", dialect=dialect, defaults=defaults,
        eos_ids=frozenset(eos_ids or tokenizer.eos_ids), accept_rule=accept_rule, queue_limit=queue_limit,
        prefix_cache_bytes=prefix_cache_bytes, remember=remember,
    )  # fmt: skip
    progress("ready", 1.0)
    return engine


def assemble(
    name: str,
    target: Model,
    model: Model | None,
    tokenizer: Tokenizer,
    *,
    eos_ids: frozenset[int],
    lookup: bool = True,
    dialect: Dialect | None = None,
    defaults: Mapping[str, float] | None = None,
    accept_rule: AcceptRule = "coupled",
    queue_limit: int = 256,
    prefix_cache_bytes: int | None = None,
    remember: int = 0,
) -> LocalEngine:
    """An engine over a target's runner and, on the same device and slots, that of a draft `model`."""
    _share_prefix_bytes(prefix_cache_bytes, [target, *([model] if model else [])])
    drafters = _drafters(model, target, remember, lookup=lookup)
    speaks = dialect or Dialect()
    info = _info(
        name, target, model, drafters, accept_rule, speaks, chat_template=tokenizer.has_chat_template
    )
    return LocalEngine(Parts(
        target, tokenizer, drafters, info, dict(defaults or {}), eos_ids, accept_rule, queue_limit, speaks,
    ))  # fmt: skip


def _check(
    slots: int, accept_rule: str, queue_limit: int, prefix_cache_bytes: int | None, remember: int
) -> None:
    _whole("slots", slots, 1, 1024)
    if accept_rule not in ("coupled", "rejection"):
        raise InvalidRequest("accept_rule", accept_rule, "coupled or rejection")
    _whole("queue_limit", queue_limit, 1)
    _whole("prefix_cache_bytes", prefix_cache_bytes or 0, 0)
    _whole("remember", remember, 0)


def _whole(name: str, value: object, least: int, most: int | None = None) -> None:
    if not isinstance(value, int) or value < least or (most is not None and value > most):
        bounds = f"{least} or more" if most is None else f"from {least} to {most}"
        raise InvalidRequest(name, value, f"a whole number {bounds}")


def _share_prefix_bytes(wanted: int | None, models: Sequence[Model]) -> None:
    """Let the models keep what earlier requests computed, in so many bytes together, and each in its share."""
    slots = sum(model.info.cache_bytes for model in models)
    limit = slots if wanted is None else wanted
    if wanted is None and (device := models[0].info.device).type == "cuda":
        limit = min(slots, torch.cuda.mem_get_info(device)[0] // 2)
    for model in models:
        model.state.prefixes.limit = limit * model.info.cache_bytes // max(slots, 1)


def _folder(name: str, role: Literal["target", "draft"]) -> Path:
    if name != BUNDLED:
        return resolve(name)
    from specdec.bundled import path

    return path(role)


def _draft_model(
    target: str, draft: str, tokenizer: Tokenizer, runner: Model, dtype: str, trust_remote_code: bool
) -> Model | None:
    """The draft's runner, on the target's device and over the same slots; None where no model drafts."""
    name = BUNDLED if draft == "auto" and target == BUNDLED else draft
    if name in ("auto", "none", "lookup"):
        return None
    path = _folder(name, "draft")
    check_same_tokens(tokenizer, Tokenizer.load(path, trust_remote_code=trust_remote_code), target, name)
    most = maximum_positions(read_config(path, trust_remote_code=trust_remote_code))
    context = min(runner.info.context, most or runner.info.context)
    return load_model(
        path, name=name, device=runner.info.device, dtype=dtype, context=context, slots=runner.info.slots,
        trust_remote_code=trust_remote_code,
    )  # fmt: skip


def _drafters(model: Model | None, target: Model, remember: int, *, lookup: bool) -> Sequence[Drafter]:
    drafters: list[Drafter] = [GrammarDrafter(), PredictionDrafter()]
    if lookup:
        drafters += [LookupDrafter(), *([MemoryDrafter(remember)] if remember else [])]
    if model is not None:
        drafters.append(DraftModelDrafter(model, target.info.vocab_size, target.info.device))
    return drafters


def _info(
    name: str,
    target: Model,
    draft: Model | None,
    drafters: Sequence[Drafter],
    rule: AcceptRule,
    dialect: Dialect,
    *,
    chat_template: bool,
) -> EngineInfo:
    at = target.info
    return EngineInfo(
        target=name,
        draft=draft.info.name if draft else None,
        architecture=at.architecture,
        runner=at.backend,
        device=str(at.device),
        dtype=str(at.dtype).removeprefix("torch."),
        context=at.context,
        vocab_size=at.vocab_size,
        slots=at.slots,
        drafters=tuple(d.name for d in drafters),
        accept_rule=rule,
        chat_template=chat_template,
        parameters=at.parameters,
        draft_parameters=draft.info.parameters if draft else 0,
        weight_bytes=at.weight_bytes + (draft.info.weight_bytes if draft else 0),
        cache_bytes=at.cache_bytes + (draft.info.cache_bytes if draft else 0),
        tool_format=dialect.family.name if dialect.family else None,
        reasoning=dialect.thought is not None,
    )
