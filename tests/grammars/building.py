"""Matchers over byte tokens, without an engine."""

from __future__ import annotations

from functools import cache

from tokenizers import Tokenizer as Backend
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from transformers import PreTrainedTokenizerFast

from specdec.grammars.compiler import GrammarCompiler
from specdec.grammars.matcher import Matcher
from specdec.text.tokenizer import Tokenizer
from specdec.types import Grammar
from tests.decoding.toy import EOS, VOCAB, byte_tokenizer


@cache
def grammars() -> GrammarCompiler:
    return GrammarCompiler(Tokenizer(byte_tokenizer()), VOCAB, [EOS])


@cache
def ids(text: str) -> tuple[int, ...]:
    return tuple(byte_tokenizer().encode(text))


def matcher(grammar: Grammar | str, *, ignore_eos: bool = False) -> Matcher:
    """Of a grammar, or of a regular expression."""
    return grammars().matcher(Grammar.regex(grammar) if isinstance(grammar, str) else grammar, ignore_eos=ignore_eos)


def without(letter: str) -> Tokenizer:
    """Byte tokens but for one, so that a grammar can ask for what cannot be written."""
    backend = Backend(BPE({c: i for i, c in enumerate(sorted(set(ByteLevel.alphabet()) - {letter}))}, []))
    backend.pre_tokenizer = ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = ByteLevelDecoder()
    return Tokenizer(PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<end>"))
