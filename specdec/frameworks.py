"""What the frameworks' classes have in common: their parameters, the engine that these name, an answer's figures."""

from __future__ import annotations

from dataclasses import asdict, fields, replace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from specdec.loading import served
from specdec.types import Ending, LoadOptions, Reasoning, Request, SamplingParams, Speculative
from specdec.types.load import KvDtype, Quantize


class Parameters(BaseModel):
    """Which engine answers, and what holds for every call; None leaves a value to the checkpoint.

    All are fields of LoadOptions, SamplingParams and Request, where more is said of them. Engines are shared: whoever
    names the same models and loading options gets the same one.
    """

    model_config = ConfigDict(use_attribute_docstrings=True)

    model: str = "bundled"
    """Target model: "bundled", a folder, a hub id, or the base URL of a server, as for `specdec.load`."""
    draft: str = "auto"
    """What drafts: "auto", "none", "lookup", a folder or a hub id."""
    base_url: str | None = None
    """Of an OpenAI-compatible server that runs the model of this name, and drafts as it was told to."""
    api_key: SecretStr | None = Field(default=None, exclude=True, repr=False)
    """Of a server; means nothing elsewhere."""
    device: str = "auto"
    dtype: str = "auto"
    context: int | None = None
    """Tokens per slot, prompt and answer together."""
    slots: int = 4
    """How many requests run at once."""
    accept_rule: str = "coupled"
    tool_format: str = "auto"
    """How the target writes tool calls."""
    fetch_draft: bool = False
    """With draft="auto": fetch the head that is published for this target."""
    trust_remote_code: bool = False
    quantize: Quantize | None = None
    """What plain weights are rounded to while they are read: "int4", "int8" or "fp8"."""
    quantize_head: bool = False
    """The head too, to 8 bits."""
    kv_dtype: KvDtype = "auto"
    """What keys and values are kept in: "auto", or "fp8" in half the memory."""

    temperature: float | None = None
    """0 is greedy."""
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[int, float] | None = None
    max_tokens: int | None = None
    """None: as many as the context allows."""
    min_tokens: int | None = None
    seed: int | None = None
    reasoning: Reasoning | bool | None = None
    """Whether the target thinks before it answers: False, True, or an effort ("low", "high" ...)."""
    max_reasoning_tokens: int | None = None
    speculative: Speculative = "auto"
    """"auto", "off", or drafted tokens a round."""
    timeout: float | None = None
    """Seconds for one answer."""

    def _load_options(self, model: object = None, draft: object = None) -> LoadOptions:
        """A call may name another target; what drafts for ours need not fit that."""
        target = str(model or self.model)
        names = {
            "target": target if self.base_url is None else served(self.base_url, target),
            "draft": str(draft or (self.draft if target == self.model else "auto")),
            "api_key": None,
        }
        own = {f.name: getattr(self, f.name) for f in fields(LoadOptions) if f.name in type(self).model_fields}
        options = LoadOptions(**own | names)
        if options.remote and self.api_key is not None:
            return replace(options, api_key=self.api_key.get_secret_value())
        return options

    def _request_options(self) -> dict[str, Any]:
        """What holds for every call, as fields of SamplingParams and Request."""
        names = [f.name for f in (*fields(SamplingParams), *fields(Request)) if f.name in type(self).model_fields]
        return {name: value for name in names if (value := getattr(self, name)) is not None}


def figures(end: Ending) -> dict[str, Any]:
    """What an answer took, and what speculation did for it; None is what nobody knows."""
    speed = end.timing.tokens_per_second(end.usage.completion_tokens)
    drafters = {d.drafter: {"drafted": sum(d.drafted), "accepted": sum(d.accepted)} for d in end.stats.drafters}
    return {
        "timing": asdict(end.timing) | {"tokens_per_second": speed or None},
        "speculative": end.stats.figures() | {"drafters": None if end.stats.unknown else drafters},
    }
