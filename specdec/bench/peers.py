"""transformers' own `generate`, plain and assisted by the same draft: what a user would run instead."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
from transformers.generation.streamers import BaseStreamer
from transformers.utils import logging

from specdec.bench.timing import System
from specdec.types import Completion, Ending, Message, SpecStats, Timing, Token, Usage


class _FirstToken(BaseStreamer):  # type: ignore[misc]
    """Notes when the first new token arrived; the prompt comes through first."""

    def __init__(self) -> None:
        self.calls = 0
        self.time = 0.0

    def put(self, value: torch.Tensor) -> None:  # noqa: ARG002
        self.calls += 1
        if self.calls == 2:
            self.time = time.perf_counter()

    def end(self) -> None:
        pass


class Peer:
    """A pair under transformers, greedy, in the device and dtype of the engine that it is compared with."""

    def __init__(self, target: Path, draft: Path | None, device: str, dtype: str) -> None:
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        kind = getattr(torch, dtype)
        self._tokenizer = AutoTokenizer.from_pretrained(target)
        self._target = AutoModelForCausalLM.from_pretrained(target, dtype=kind).to(device).eval()
        self._draft = AutoModelForCausalLM.from_pretrained(draft, dtype=kind).to(device).eval() if draft else None
        self._device = device
        eos, pad = self._target.generation_config.eos_token_id, self._tokenizer.pad_token_id
        ends = eos if isinstance(eos, list) else [eos]
        self._greedy = GenerationConfig(
            do_sample=False, eos_token_id=eos, pad_token_id=pad if pad is not None else ends[0]
        )
        self._ends = frozenset(ends)

    def encode(self, messages: Sequence[Message] | str, tools: Sequence[Mapping[str, Any]]) -> list[int]:
        """Token ids of the prompt, through the checkpoint's chat template."""
        if isinstance(messages, str):
            return list(self._tokenizer(messages)["input_ids"])
        turns = [{"role": m.role, "content": m.content} for m in messages]
        ids = self._tokenizer.apply_chat_template(
            turns, tools=list(tools) or None, add_generation_prompt=True, return_dict=True
        )
        return list(ids["input_ids"])

    def answer(self, prompt: list[int], max_tokens: int, *, assisted: bool) -> System:
        """One timed answer."""
        ids = torch.tensor([prompt], device=self._device)

        @torch.inference_mode()
        def answer() -> Completion:
            first, start = _FirstToken(), time.perf_counter()
            out = self._target.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                generation_config=self._greedy,
                max_new_tokens=max_tokens,
                assistant_model=self._draft if assisted else None,
                streamer=first,
            )
            timing = Timing(0.0, first.time - start, time.perf_counter() - start)
            found = out[0, len(prompt) :].tolist()
            while found and found[-1] in self._ends:
                found.pop()
            tokens = tuple(Token(token, "", "unknown") for token in found)
            end = Ending("stop", Usage(len(prompt), len(tokens)), timing, SpecStats(0), seed=0)
            return Completion("", "", tokens, end, Message("assistant", ""))

        return answer
