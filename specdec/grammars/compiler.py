"""From a request's grammar to a matcher: checked, compiled, and kept for the next request that asks for the same."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from specdec.errors import InvalidRequest
from specdec.grammars.check import LIMITS, refusal
from specdec.grammars.matcher import Matcher
from specdec.text.tokenizer import Tokenizer
from specdec.types import Grammar

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer
    from llguidance._lib import JsonCompileOptions

_KEPT = 32
"""Compiled grammars; the one that was not used for longest goes first."""
_JSON: JsonCompileOptions = {
    "whitespace_flexible": False, "item_separator": ", ", "key_separator": ": ", "lenient": False,
    "coerce_one_of": False,
}  # fmt: skip
_EXPECTED = {
    "json_schema": "a JSON schema that can be enforced",
    "json_object": "a checkpoint that can write JSON",
    "regex": "a regular expression",
    "lark": "a Lark grammar",
    "choice": "a list of texts",
}


class Grammars:
    """The grammars of one engine, over the target's tokens. May be called from any thread."""

    def __init__(self, tokenizer: Tokenizer, vocab_size: int, eos_ids: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        self._width = max(vocab_size, tokenizer.vocab_size)
        self._eos_ids = [i for i in eos_ids if i < vocab_size]
        self._kept: OrderedDict[Grammar, LLMatcher] = OrderedDict()
        self._tokens: LLTokenizer | None = None
        self._lock, self._loading = threading.Lock(), threading.Lock()

    def matcher(self, grammar: Grammar, *, ignore_eos: bool) -> Matcher:
        """At the grammar's start. A grammar that cannot be used is refused, in bounded time."""
        first = [self._copy(grammar)]
        return Matcher(
            lambda: first.pop() if first else self._anew(grammar),
            self._eos_ids,
            self._width,
            ignore_eos=ignore_eos,
        )

    def _copy(self, grammar: Grammar) -> LLMatcher:
        with self._lock:
            parser = self._kept.get(grammar)
        if parser is None:  # nobody waits for a hostile grammar but who brought it: no lock
            parser = self._compile(grammar, _checked(grammar))
            parser.compute_bitmask()  # a token must be there to begin with, and soon found
            if parser.is_error():
                raise _refused(grammar, parser.get_error())
        with self._lock:
            parser = self._kept.setdefault(grammar, parser)
            self._kept.move_to_end(grammar)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
            return parser.deep_copy()

    def _anew(self, grammar: Grammar) -> LLMatcher:
        """Copies share what their lexer has learnt, and with it the limit on that: this one starts from nothing."""
        return self._compile(grammar, _as_llguidance(grammar))

    def _compile(self, grammar: Grammar, text: str) -> LLMatcher:
        from llguidance import LLMatcher, LLParserLimits

        with self._loading:
            tokens = self._tokens = self._tokens or self._load_tokens(grammar)
        return LLMatcher(tokens, text, log_level=0, limits=LLParserLimits(**LIMITS))

    def _load_tokens(self, grammar: Grammar) -> LLTokenizer:
        from llguidance import LLTokenizer

        serialized = self._tokenizer.serialized()
        if serialized is None:
            raise InvalidRequest("grammar", grammar.text, "none: this checkpoint has no fast tokenizer")
        try:
            return LLTokenizer(serialized, n_vocab=self._width, eos_token=list(self._eos_ids) or None)
        except ValueError as error:
            expected = f"none: the tokens of this checkpoint have no bytes of their own ({error})"
            raise InvalidRequest("grammar", grammar.text, expected) from error


def _checked(grammar: Grammar) -> str:
    try:
        text = _as_llguidance(grammar)
    except ValueError as error:
        raise _refused(grammar, str(error)) from error
    if reason := refusal(text):
        raise _refused(grammar, reason)
    return text


def _as_llguidance(grammar: Grammar) -> str:
    from llguidance import LLMatcher

    if grammar.kind == "regex":
        return LLMatcher.grammar_from_regex(grammar.text)
    if grammar.kind == "lark":
        return LLMatcher.grammar_from_lark(grammar.text)
    if grammar.kind == "choice":
        options = dict.fromkeys(json.loads(grammar.text))
        return LLMatcher.grammar_from_lark("start: " + " | ".join(map(json.dumps, options)))
    schema = grammar.text or '{"type": "object"}'
    return LLMatcher.grammar_from_json_schema(schema, overrides=_JSON)


def _refused(grammar: Grammar, reason: str) -> InvalidRequest:
    lines = [line.strip() for line in reason.splitlines() if line.strip()]
    line = next((line for line in lines if line.startswith("error: ")), lines[0]).removeprefix("error: ")
    line = "it matches nothing" if line.startswith("NoExtension") else line
    line = line if len(line) <= 200 else line[:197] + "..."
    return InvalidRequest("grammar", grammar.text, f"{_EXPECTED[grammar.kind]} ({line})")
