"""What an engine is made of, and how it is doing."""

from __future__ import annotations

from dataclasses import dataclass, field

from specdec.types.request import Reasoning
from specdec.types.speculation import Speculation


@dataclass(frozen=True, slots=True)
class PublishedDraft:
    """A drafter that somebody has published."""

    name: str
    """Its hub id."""
    gigabytes: float
    licence: str
    """As its page states it."""
    helps: str
    """What it was trained for."""

    def __str__(self) -> str:
        return f"{self.name} ({self.gigabytes:g} GB; licence: {self.licence}; {self.helps})"


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What an engine is made of; constant over its life."""

    target: str
    draft: str | None
    architecture: str
    backend: str
    """What runs the target: "eager", "triton", "transformers", or a server's name, version and address."""
    device: str
    dtype: str
    context: int
    vocab_size: int
    slots: int
    drafters: tuple[str, ...]
    accept_rule: str
    chat_template: bool
    parameters: int
    draft_parameters: int
    weight_bytes: int
    cache_bytes: int
    speculation_unavailable: str | None = None
    """Why this engine can never speculate, or None."""
    tool_format: str | None = None
    """How the model writes tool calls: "hermes", "qwen_xml", "mistral" ...; "server" where a server reads them; None
    where it takes no tools."""
    reasoning: bool = False
    """Whether the chat template knows of reasoning."""
    reasoning_levels: tuple[Reasoning, ...] = ()
    """Those of `Request.reasoning` that the chat template tells apart, beside "auto"."""
    template_variables: tuple[str, ...] = ()
    """What the chat template reads of `Request.template`."""
    weight_format: str = ""
    """What the target's weights are in, for display."""
    kv_dtype: str = "auto"
    """What the target's keys and values are kept in, as in LoadOptions."""
    published_draft: PublishedDraft | None = None
    """What could be fetched for this target, where "auto" found nothing to load."""
    context_known: bool = True
    """Whether the server or the caller said `context`; else it is assumed."""
    speculation_optional: bool = True
    """Whether a request can be answered without drafts."""


@dataclass(frozen=True, slots=True)
class Queued:
    """A request that waits for a slot."""

    request_id: str
    position: int
    """1 is served next."""
    seconds: float
    """How long it has waited."""
    priority: int
    client: str


@dataclass(frozen=True, slots=True)
class EngineStats:
    """A snapshot of an engine at work."""

    active: int = 0
    queued: int = 0
    finished: int = 0
    cancelled: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    completion_tokens: int = 0
    rounds: int = 0
    drafted: int = 0
    accepted: int = 0
    speculation: Speculation = field(default_factory=Speculation)
    """What was decided last."""
    queue: tuple[Queued, ...] = ()
    """Who waits, in the order in which they would be served."""
    warning: str | None = None
    """As in SpecStats."""
    prefix_tokens: int = 0
    """Tokens whose keys and values are kept for requests that begin alike, beside what the slots hold."""
    graph_bytes: int = 0
    """Device memory that captured graphs take; they are made as they are needed, up to a number."""
    device_bytes: int | None = None
    """What the engine's process holds of its GPU's memory; None on a CPU."""
