"""Prompts that the target makes up itself: beside those that come with us, and when a user's do not last.

After Xu et al. 2024, "Magpie: Alignment Data Synthesis from Scratch by Prompting Aligned LLMs with Nothing": a model
that was taught to chat goes on where a user's words would begin.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from random import Random

from specdec.bench.prompts import BenchPrompt
from specdec.errors import InvalidRequest
from specdec.text.tokenizer import Tokenizer
from specdec.training.answers import Answered
from specdec.training.prompts import plain
from specdec.types import Message, Request, SamplingParams

CATEGORY = "made up"
_MARK = "specdec"
"""Stands for a user's words in a template."""
_SHORTEST, _LONGEST, _BEGUN = 4, 128, 24
"""Tokens of words, and of a text's beginning for a target that does not chat."""
_TRIES, _USEFUL = 64, 0.1
"""Words after which it is judged whether to go on, and the share of them that must have become prompts."""


@dataclass(frozen=True, slots=True)
class OpenTurn:
    """Where a user's words begin, and how they end."""

    tokens: tuple[int, ...]
    ends: frozenset[int]
    """One of these ends them."""
    after: str = ""
    """Text that does, where it is no token."""
    chat: bool = True
    """Else a text begins there, of which any length will do."""

    @classmethod
    def of(cls, tokenizer: Tokenizer, eos_ids: frozenset[int]) -> OpenTurn | None:
        """As the chat template writes it; without one, where a text begins. None where that is before any token."""
        start, chat = "", False
        ends, after = eos_ids, ""
        if tokenizer.has_chat_template:
            with suppress(InvalidRequest):
                start, mark, rest = tokenizer.chat([Message("user", _MARK)]).text.rpartition(_MARK)
                chat = bool(mark)
                named = [token for token in tokenizer.encode_plain(rest) if token in tokenizer.added_ids][:1]
                ends, after = eos_ids.union(named), "" if named else rest.strip()
        # a space at the end would be a token of its own, where words begin with theirs
        tokens = tokenizer.encode_plain(start.rstrip(" ")) or tokenizer.encode("") or sorted(eos_ids)[:1]
        return cls(tuple(tokens), ends, after, chat) if tokens else None


@dataclass(frozen=True, slots=True)
class Words(Answered):
    """What was made up as a user's words."""


class MadeUp:
    """Makes up prompts in a target's `turn`, none of them one of the `given`. `by_turns`: they take turns with these,
    and some are held out as well; else they come when all of these are answered, and all are learnt from."""

    def __init__(
        self, turn: OpenTurn, tokenizer: Tokenizer, given: Iterable[BenchPrompt], seed: str, *, by_turns: bool = False
    ) -> None:
        self.by_turns = by_turns
        self._turn, self._decode, self._rng = turn, tokenizer.decode, Random(seed)
        self._said = {plain(prompt.messages[-1].content or "") for prompt in given}
        self._begun = self._tried = self._useful = 0
        self.waiting: deque[BenchPrompt] = deque()
        """Prompts that nobody has had answered."""

    @property
    def pays(self) -> bool:
        """Whether enough of the words become prompts."""
        return self._tried < _TRIES or self._useful >= _USEFUL * self._tried

    def begin(self) -> tuple[Words, Request]:
        """What is asked for, to get words."""
        self._begun += 1
        sampling = SamplingParams(
            temperature=1.0,  # whatever the target's own is: these shall differ
            max_tokens=_LONGEST if self._turn.chat else _BEGUN,
            seed=self._rng.getrandbits(31),
            stop_token_ids=tuple(self._turn.ends),
        )
        words = Words(f"words {self._begun}", CATEGORY, self._turn.tokens, ())
        return words, Request(self._turn.tokens, sampling, speculative="off", remember=False)

    def take(self, words: Words) -> None:
        """They become a prompt, unless they are cut off, too short, or known."""
        self._tried += 1
        text, ended, _ = self._decode(words.answer).partition(self._turn.after or "\0")
        said = plain(text)
        if len(words.answer) <= _SHORTEST or not said or said in self._said:
            return
        if self._turn.chat and not ended and words.answer[-1] not in self._turn.ends:
            return
        self._said.add(said)
        self._useful += 1
        self.waiting.append(BenchPrompt(CATEGORY, (Message("user", text.strip()),)))
