"""Drafts from a model with another tokenizer: text goes over from one vocabulary to the other at token boundaries.

The draft model reads the sequence's text in its own tokens and goes on greedily; what it writes is read in the target's
tokens. The last of them may be cut short, so it is left out. The target's own sample decides as ever.
"""

from __future__ import annotations

from specdec.drafters.base import DraftContext, DraftRound, Drafts, Seen
from specdec.drafters.model import DraftModelDrafter, ModelDrafter
from specdec.drafters.proposals import certain
from specdec.models.base import Model
from specdec.models.state import shared_prefix
from specdec.sampling.batch import SamplingBatch
from specdec.sampling.state import SamplerState
from specdec.text.detokenizer import Detokenizer
from specdec.text.tokenizer import Tokenizer
from specdec.types import MAX_SPECULATIVE_TOKENS, SamplingParams

_OPEN = 64
"""Characters at the end of a text whose tokens may still be other ones, with what follows."""
_ENTIRE = 2000
"""A text without a space is cut anyway from so many characters on."""
_SEAM = 3
"""Tokens in front of a draft with which it is read."""
_UNKNOWN = "\ufffd"


class Translation:
    """One sequence in the draft model's tokens."""

    def __init__(self, context: DraftContext, target: Tokenizer, draft: Tokenizer) -> None:
        self._draft, self._text = draft, Detokenizer.of(target)
        self.source = context.tokens
        """The sequence's own list, in the target's tokens."""
        self._read = 0
        self._fixed: list[int] = []
        self._open = ""
        self.context = DraftContext(context.sequence_id, context.slot, [], 0)
        """The same sequence, as the draft model knows it."""

    def read(self) -> int:
        """Read what was added to the target's tokens; returns how many of the draft's are as they were."""
        tokens = self.source
        self._open += "".join(self._text.push(token) for token in tokens[self._read :])
        self._read = len(tokens)
        # in front of a space few vocabularies have a token that goes on behind it
        cut = self._open.rfind(" ", 0, max(len(self._open) - _OPEN, 0))
        if cut < 0 and len(self._open) > _ENTIRE:
            cut = len(self._open) - _OPEN
        if cut > 0:
            self._fixed += self._draft.encode_plain(self._open[:cut])
            self._open = self._open[cut:]
        ids = [*self._fixed, *self._draft.encode_plain(self._open)]
        same = shared_prefix(self.context.tokens, ids)
        self.context.tokens[same:] = ids[same:]
        return same


class TranslatedDrafter(ModelDrafter):
    """See `base.Drafter`. Its drafts are certain, as the draft model's choices have no counterpart in the target's
    noise."""

    name = "translated"
    longest = MAX_SPECULATIVE_TOKENS - 1
    device = None

    def __init__(self, model: Model, draft: Tokenizer, target: Tokenizer) -> None:
        super().__init__(model)
        self._drafter = DraftModelDrafter.over(model, model)
        self._draft, self._target = draft, target
        self._translations: dict[int, Translation] = {}
        """By a sequence's id."""
        info = model.info
        params = SamplingParams(temperature=0.0).with_defaults({})
        self._greedy = SamplerState(params, 0, [0], frozenset(), info.vocab_size, info.device)

    def observe(self, seen: Seen) -> None:
        """See `base.Drafter.observe`: it reads the text when it drafts."""
        if (known := self._translations.get(seen.context.sequence_id)) is not None:
            self._drafter.observe(Seen(known.context, seen.start, seen.count))

    def propose(self, round: DraftRound, k: int) -> Drafts:
        """Up to k tokens for each context; fewer where the text takes fewer, or cannot be read."""
        read = [self._read(context) for context in round.contexts]
        sampling = SamplingBatch([self._greedy] * len(read))
        asked = DraftRound([r.context for r in read], sampling, None, need_probs=False)
        wanted = min(k + 1, MAX_SPECULATIVE_TOKENS)
        drafts = self._drafter.propose(asked, wanted)
        tokens = drafts.tokens.tolist()
        rows = [
            self._translated(context.tokens, r.context.tokens, tokens[b][: drafts.lengths[b]])[:k]
            for b, (context, r) in enumerate(zip(round.contexts, read, strict=True))
        ]
        return certain(rows, [self.name] * len(rows), k)

    def behind(self, context: DraftContext) -> int | None:
        """See `base.Drafter.behind`: in its own tokens."""
        return self._drafter.behind(self._read(context).context)

    def read(self, context: DraftContext, most: int) -> int:
        """See `base.Drafter.read`."""
        return self._drafter.read(self._read(context).context, most)

    def release(self, context: DraftContext) -> None:
        """See `base.Drafter.release`."""
        if (known := self._translations.pop(context.sequence_id, None)) is not None:
            self._drafter.release(known.context)

    def _read(self, context: DraftContext) -> Translation:
        known = self._translations.get(context.sequence_id)
        if known is None or known.source is not context.tokens:
            known = self._translations[context.sequence_id] = Translation(context, self._target, self._draft)
        same, held = known.read(), self.state.slots[context.slot]
        if held.tokens is known.context.tokens:
            self.state.commit(context.slot, min(held.length, same))
        return known

    def _translated(self, tokens: list[int], read: list[int], drafted: list[int]) -> list[int]:
        """The target's tokens for what the draft model goes on with behind `read`."""
        end = next((i for i, token in enumerate(drafted) if token in self._draft.eos_ids), len(drafted))
        text = _behind(self._draft, read[-_SEAM:], drafted[:end]).partition(_UNKNOWN)[0]
        if not text:
            return []
        seam = tokens[-_SEAM:]
        before = _behind(self._target, [], seam)
        for encode in (self._target.encode_plain, self._target.encode_going_on):  # the seam may begin inside a word
            ids = encode(before + text)
            if ids[: len(seam)] == seam:
                return ids[len(seam) : -1]
        return self._target.encode_going_on(text)[:-1]


def _behind(tokenizer: Tokenizer, before: list[int], tokens: list[int]) -> str:
    """The text of `tokens` behind others, as far as its characters are whole."""
    detokenizer = Detokenizer.of(tokenizer)
    for token in before:
        detokenizer.push(token)
    return "".join(detokenizer.push(token) for token in tokens)
