"""From a request's grammar to a matcher: checked, compiled, and kept for the next request that asks for the same."""

from __future__ import annotations

import json
import logging
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from specdec.errors import InvalidRequest
from specdec.grammars.check import LIMITS, SECONDS, TOO_COMPLEX, refusal, timed_refusal
from specdec.grammars.json_schema import Loosening, as_llguidance_reads
from specdec.grammars.matcher import Matcher
from specdec.text.tokenizer import Tokenizer
from specdec.types import Grammar

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

_log = logging.getLogger(__name__)
_KEPT = 32
"""Compiled grammars; the one that was not used for longest goes first."""
_EXPECTED = {
    "json_schema": "a JSON schema that can be enforced",
    "json_object": "a checkpoint that can write JSON",
    "regex": "a regular expression",
    "lark": "a Lark grammar",
    "choice": "a list of texts",
}


class GrammarCompiler:
    """The grammars of one engine, over the target's tokens. May be called from any thread."""

    def __init__(self, tokenizer: Tokenizer, vocab_size: int, eos_ids: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        self._width = max(vocab_size, tokenizer.vocab_size)
        self._eos_ids = [i for i in eos_ids if i < vocab_size]
        self._kept: OrderedDict[Grammar, tuple[str, LLMatcher]] = OrderedDict()
        self._tokens: LLTokenizer | None = None
        self._lock, self._loading = threading.Lock(), threading.Lock()

    def matcher(self, grammar: Grammar, *, ignore_eos: bool) -> Matcher:
        """At the grammar's start. A grammar that cannot be used is refused, in bounded time."""
        text, parser = self._compiled(grammar)
        first = [parser]

        def fresh() -> LLMatcher:
            """Copies share what their lexer has learnt, and with it the limit on that: the next start from nothing."""
            return first.pop() if first else self._compile(grammar, text)

        return Matcher(fresh, self._eos_ids, self._width, ignore_eos=ignore_eos)

    def _compiled(self, grammar: Grammar) -> tuple[str, LLMatcher]:
        """As llguidance reads it, and a parser."""
        with self._lock:
            kept = self._kept.get(grammar)
        if kept is None:  # nobody waits for a hostile grammar but who brought it: no lock
            wanted = loosened(grammar)
            try:
                text = _as_llguidance(wanted)
            except ValueError as error:
                raise _refused(wanted, str(error)) from error
            if reason := refusal(text):
                raise _refused(wanted, reason)
            parser = self._compile(grammar, text)
            parser.compute_bitmask()  # a token must be there to begin with, and soon found
            if parser.is_error():
                raise _refused(grammar, parser.get_error())
            _warn(parser.get_grammar_warnings())
            kept = text, parser
        with self._lock:
            text, parser = self._kept.setdefault(grammar, kept)
            self._kept.move_to_end(grammar)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
            return text, parser.deep_copy()

    def _compile(self, grammar: Grammar, text: str) -> LLMatcher:
        from llguidance import LLMatcher, LLParserLimits, LLTokenizer

        with self._loading:
            if self._tokens is None:
                serialized = self._tokenizer.serialized()
                if serialized is None:
                    raise InvalidRequest("grammar", grammar.text, "none: this checkpoint has no fast tokenizer")
                try:
                    self._tokens = LLTokenizer(serialized, n_vocab=self._width, eos_token=self._eos_ids or None)
                except ValueError as error:
                    expected = f"none: the tokens of this checkpoint have no bytes of their own ({error})"
                    raise InvalidRequest("grammar", grammar.text, expected) from error
        return LLMatcher(self._tokens, text, log_level=0, limits=LLParserLimits(**LIMITS))


@lru_cache(256)
def loosened(grammar: Grammar) -> Grammar:
    """The same with patterns that can be enforced, unless it is strict."""
    if grammar.kind != "json_schema" or grammar.strict:
        return grammar
    until: float | None = None

    def takes(schema: Mapping[str, Any]) -> bool:
        nonlocal until
        try:
            reason = refusal(_json_grammar(schema, strict=False))
        except ValueError:  # escaped surrogates without a pair
            return False
        until = until or time.monotonic() + SECONDS  # not before: the first may have started the child
        if reason == TOO_COMPLEX or time.monotonic() > until:
            raise _refused(grammar, TOO_COMPLEX)
        return not reason

    loosening = Loosening(takes)
    schema = loosening.schema(json.loads(grammar.text))
    _warn(loosening.lost)
    text = json.dumps(schema, ensure_ascii=False, separators=(",", ":"))
    return Grammar.json_schema(text) if loosening.lost else grammar


def compile_seconds(grammar: Grammar) -> float:
    """How long it takes; math.inf where that is too long."""
    try:
        reason, seconds = timed_refusal(_as_llguidance(grammar))
    except ValueError:  # escaped surrogates without a pair
        return 0.0
    return math.inf if reason == TOO_COMPLEX else seconds


def _warn(parts: Sequence[str]) -> None:
    """Of what a schema may say anything, the log gets one line of some length."""
    if parts:
        said = "; ".join(parts)
        _log.warning("of a JSON schema this is not enforced: %r", said if len(said) <= 500 else said[:497] + "...")


def _as_llguidance(grammar: Grammar) -> str:
    from llguidance import LLMatcher

    if grammar.kind == "regex":
        return LLMatcher.grammar_from_regex(grammar.text)
    if grammar.kind == "lark":
        return LLMatcher.grammar_from_lark(grammar.text)
    if grammar.kind == "choice":
        options = dict.fromkeys(json.loads(grammar.text))
        return LLMatcher.grammar_from_lark("start: " + " | ".join(map(json.dumps, options)))
    schema = json.loads(grammar.text) if grammar.text else {"type": "object"}
    return _json_grammar(schema, strict=grammar.strict)


def _json_grammar(schema: Any, *, strict: bool) -> str:
    from llguidance import LLMatcher

    return LLMatcher.grammar_from_json_schema(json.dumps(as_llguidance_reads(schema, strict=strict)))


def _refused(grammar: Grammar, reason: str) -> InvalidRequest:
    lines = [line.strip() for line in reason.splitlines() if line.strip()]
    line = next((line for line in lines if line.startswith("error: ")), lines[0]).removeprefix("error: ")
    line = line.partition(" Enable ")[0]  # llguidance's options, which are ours to set
    line = "it matches nothing" if line.startswith("NoExtension") else line
    line = line if len(line) <= 200 else line[:197] + "..."
    expected = _EXPECTED[grammar.kind] + (", or one that is not strict" if grammar.strict else "")
    return InvalidRequest("grammar", grammar.text, f"{expected} ({line})")
