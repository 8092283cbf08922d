"""From what was typed to a Request."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field

from specdec.errors import InvalidRequest
from specdec.types import EngineInfo, Message, Prompt, Request, SamplingParams, Speculative

DEMO_PROMPT = "Tell me a story about a shy fox who finds a silver bell."


@dataclass(frozen=True, slots=True)
class Ask:
    """What the user wants to know, before the engine is there to say what it takes."""

    text: str
    system: str | None = None
    raw: bool = False
    """The text as it is, without the chat template."""
    sampling: SamplingParams = field(default_factory=SamplingParams)
    speculative: Speculative = "auto"
    prediction: str | None = None

    def __post_init__(self) -> None:
        self._request(self.text)  # what can be refused is refused before anything is loaded

    def request(self, info: EngineInfo) -> Request:
        """The request for this engine."""
        if self.raw or not info.chat_template:
            if self.system is not None:
                why = "no --raw" if self.raw else f"a target with a chat template, which {info.target} is not"
                raise InvalidRequest("system", self.system, why)
            return self._request(self.text)
        system = () if self.system is None else (Message("system", self.system),)
        return self._request((*system, Message("user", self.text)))

    def _request(self, prompt: Prompt) -> Request:
        return Request(prompt, self.sampling, self.speculative, self.prediction)


def read_prompt(prompt: str | None) -> str:
    """The prompt itself, the whole of stdin for `-`, the demo's for none."""
    if prompt is None:
        return DEMO_PROMPT
    return sys.stdin.read().rstrip("\n") if prompt == "-" else prompt
