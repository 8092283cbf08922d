"""Turns a Request into a sequence ready to run, or refuses it by name. Runs in the caller's thread."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count, takewhile
from typing import Any

from specdec.decoding.forms import AnswerForms
from specdec.decoding.sequence import Running
from specdec.decoding.speculation.acceptance import Acceptance
from specdec.drafters.base import DraftContext
from specdec.engine import Deliver
from specdec.errors import InvalidRequest, PromptTooLong
from specdec.models.base import ModelInfo
from specdec.sampling.state import SamplerState
from specdec.text.output import AnswerText
from specdec.text.tokenizer import Tokenizer
from specdec.types import MAX_SEED, Message, Request, SamplingParams, Speculation


@dataclass
class Admission:
    """What requests are checked against."""

    target: ModelInfo
    tokenizer: Tokenizer
    defaults: Mapping[str, float]
    """The checkpoint's own sampling parameters."""
    eos_ids: frozenset[int]
    acceptance: Acceptance
    forms: AnswerForms

    def __post_init__(self) -> None:
        self._ids = count()

    def admit(self, request: Request, deliver: Deliver) -> Running:
        """Everything that can be wrong with a request is found here."""
        self.forms.check(request)
        tokens, chat = self._prompt(request)
        thought = self.forms.thought(request, chat)
        if not tokens:
            raise InvalidRequest("prompt", "", "text that is at least one token")
        if len(tokens) >= self.target.context:
            raise self._too_long(request, len(tokens))
        params, speculative = request.sampling.with_defaults(self.defaults), request.speculative
        ends = self._end_ids(request, params)
        grammar = self.forms.matcher(request, thought)
        seed = secrets.randbelow(MAX_SEED) if params.seed is None else params.seed
        guess = self.tokenizer.encode_plain(request.prediction) if request.prediction else ()
        prediction = tuple(takewhile(lambda token: token < self.target.vocab_size, guess))
        room, received = self.target.context - len(tokens), time.perf_counter()
        return Running(
            request=request,
            context=DraftContext(next(self._ids), -1, tokens, len(tokens), prediction, remember=request.remember),
            tokens=tokens,
            sampler=SamplerState(params, seed, tokens, ends, self.target.vocab_size, self.target.device, grammar),
            output=AnswerText(self.tokenizer, params.stop),
            parser=self.forms.parser(request, thought, chat),
            token_text=self.tokenizer.token_text,
            token_bytes=self.tokenizer.token_bytes,
            end_ids=ends,
            limit=len(tokens) + min(room, params.max_tokens or room),
            max_drafts=speculative if isinstance(speculative, int) else {"auto": None, "off": 0}[speculative],
            acceptance=Acceptance(self.acceptance),
            deliver=deliver,
            speculation=Speculation(why="starting" if speculative == "auto" else "requested"),
            received=received,
            deadline=received + (math.inf if request.timeout is None else request.timeout),
        )

    def _end_ids(self, request: Request, params: SamplingParams) -> frozenset[int]:
        """The tokens that end the answer."""
        if params.stop_token_ids:
            self._check_ids("stop_token_ids", params.stop_token_ids)
        asked = frozenset(params.stop_token_ids)
        if params.ignore_eos:
            return asked
        marks = self.tokenizer.fill_marks if request.suffix is not None else None
        return asked | self.eos_ids | (marks.ends if marks else frozenset())

    def _too_long(self, request: Request, count: int) -> PromptTooLong:
        most, longer = self.target.context, self.target.longer
        context = f"this model's maximum context length is {most}"  # clients know these words
        fits = f"at most {most - 1} tokens ({context}, prompt and answer together)" + (longer and f": {longer}")
        holding = f" (tools in it: {len(_tools(request))})" if _tools(request) else ""
        return PromptTooLong("prompt", f"{count} tokens{holding}", fits)

    def tokenize(self, request: Request) -> tuple[int, ...]:
        """The tokens that the request's prompt becomes."""
        self.forms.check(request)
        return tuple(self._prompt(request)[0])

    def _prompt(self, request: Request) -> tuple[list[int], str | None]:
        """Its tokens, and the text of a chat as its template writes it."""
        prompt = request.prompt
        if isinstance(prompt, str) and request.suffix is not None:
            return self.tokenizer.fill(prompt, request.suffix), None
        if isinstance(prompt, str):
            return self.tokenizer.encode(prompt), None
        messages = [m for m in prompt if isinstance(m, Message)]
        if messages:
            thinks = self.forms.answer_format.thought is not None
            values = self.tokenizer.reasoning.values(request.reasoning, thinks=thinks)
            chat = self.tokenizer.chat(messages, _tools(request), values | dict(request.template))
            return chat.tokens, chat.text
        ids = [t for t in prompt if isinstance(t, int)]
        self._check_ids("prompt", ids)
        return ids, None

    def _check_ids(self, field: str, ids: Sequence[int]) -> None:
        for token in ids:
            if not 0 <= token < self.target.vocab_size:
                raise InvalidRequest(field, token, f"token ids from 0 to {self.target.vocab_size - 1}")


def _tools(request: Request) -> Sequence[Mapping[str, Any]]:
    """Those that the prompt tells of."""
    return request.tools if request.tool_choice != "none" else ()
