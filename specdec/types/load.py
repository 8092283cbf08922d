"""How an engine is loaded: what to load, on what, and with how much of everything."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from os import PathLike, fspath
from typing import Any, Literal, Self, TypedDict, get_args

from specdec.errors import InvalidRequest
from specdec.types.validation import WHOLE, Bounds, check

AcceptRule = Literal["coupled", "rejection"]
Name = str | PathLike[str]


class LoadKeywords(TypedDict, total=False):
    """The fields of LoadOptions but target and draft, as options of a call."""

    device: str
    dtype: str
    context: int | None
    slots: int
    accept_rule: AcceptRule
    queue_limit: int
    prefix_cache_bytes: int | None
    remember: int
    tool_format: str
    trust_remote_code: bool
    api_key: str | None


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """What to load, and how. Raises InvalidRequest for values that no engine can have."""

    target: str = "bundled"
    """"bundled", a local folder, a hub id, or the base URL of an OpenAI-compatible server (http://host:8000/v1)."""
    draft: str = "auto"
    """"auto" (the bundled draft for the bundled target, lookup in the text so far for every other), "none", "lookup", a
    folder or a hub id (used together with lookup)."""
    device: str = "auto"
    dtype: str = "auto"
    context: int | None = None
    """Tokens per slot, prompt and answer together (default: the model's own, at most 8192)."""
    slots: int = 4
    """How many requests run at once."""
    accept_rule: AcceptRule = "coupled"
    queue_limit: int = 256
    """How many requests wait for a slot before EngineBusy."""
    prefix_cache_bytes: int | None = None
    """Memory for what earlier requests computed, for later ones that begin alike (default: as much as the slots take,
    and no more than half of a GPU's free memory; 0: only what free slots hold)."""
    remember: int = 32_768
    """Tokens of recent answers that later ones, whosever they are, may be drafted from (0: none)."""
    tool_format: str = "auto"
    """How the model writes tool calls: "auto" (as its chat template shows), "none", or by a name of `tools.formats`."""
    trust_remote_code: bool = False
    api_key: str | None = None
    """Of a server."""

    def __post_init__(self) -> None:
        none_or_more: Bounds = (WHOLE, 0, math.inf, "a whole number 0 or more")
        numbers: list[tuple[str, Any, Bounds]] = [
            ("slots", self.slots, (WHOLE, 1, 1024, "a whole number from 1 to 1024")),
            ("queue_limit", self.queue_limit, (WHOLE, 1, math.inf, "a whole number 1 or more")),
            ("prefix_cache_bytes", self.prefix_cache_bytes or 0, none_or_more),
            ("remember", self.remember, none_or_more),
        ]
        check(numbers)
        if self.accept_rule not in get_args(AcceptRule):
            raise InvalidRequest("accept_rule", self.accept_rule, " or ".join(get_args(AcceptRule)))
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
