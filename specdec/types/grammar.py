"""What an answer must look like."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from specdec.errors import InvalidRequest

MAX_GRAMMAR = 128 * 1024
"""Characters of one grammar."""

MAX_GRAMMAR_DEPTH = 100
"""How deep a JSON schema may nest."""

GrammarKind = Literal["json_schema", "json_object", "regex", "lark", "choice"]


@dataclass(frozen=True, slots=True)
class Grammar:
    """What an answer must look like, from its first token to its last. JSON comes out compact: on one line, with
    a space behind commas and colons, as models are used to from chat templates, and no other whitespace.

    `kind` and its `text`: json_schema (a JSON schema), json_object (none: any JSON object), regex (matched as a whole),
    lark (a Lark grammar as llguidance reads it), choice (a JSON list of texts, one of which is the answer).
    The answer ends where the grammar is complete and cannot go on; where it may end or go on, the target decides, by
    eos. An answer that reaches max_tokens before is cut, and then does not match.
    """

    kind: GrammarKind
    text: str = ""
    strict: bool = False
    """Of a JSON schema: with a part that cannot be enforced it is refused. Else the other parts hold, and the log says
    which do not."""

    def __post_init__(self) -> None:
        if self.kind not in get_args(GrammarKind):
            raise InvalidRequest("grammar.kind", self.kind, "one of " + ", ".join(get_args(GrammarKind)))
        if not isinstance(self.strict, bool):
            raise InvalidRequest("grammar.strict", self.strict, "true or false")
        if not isinstance(self.text, str) or bool(self.text) == (self.kind == "json_object"):
            expected = "no text" if self.kind == "json_object" else f"the text of a {self.kind}"
            raise InvalidRequest("grammar.text", self.text, expected)
        if len(self.text) > MAX_GRAMMAR:
            raise InvalidRequest("grammar.text", f"{len(self.text)} characters long", f"at most {MAX_GRAMMAR}")
        if not self.text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in self.text):
            raise InvalidRequest("grammar.text", self.text, "text without unpaired surrogates")
        if self.kind == "json_schema":
            level: list[Any] = [_parsed("a JSON schema", self.text)]
            if not isinstance(level[0], dict | bool):
                raise InvalidRequest("grammar.text", self.text, "a JSON schema, which is an object")
            for _ in range(MAX_GRAMMAR_DEPTH):
                inner = (v.values() if isinstance(v, dict) else v for v in level if isinstance(v, dict | list))
                level = [value for values in inner for value in values]
            if level:
                raise InvalidRequest(
                    "grammar.text", self.text, f"a JSON schema nested at most {MAX_GRAMMAR_DEPTH} deep"
                )
        if self.kind == "choice":
            options = _parsed("a list of texts", self.text)
            if not isinstance(options, list) or not options or not all(isinstance(o, str) and o for o in options):
                raise InvalidRequest("grammar.text", self.text, "a list of texts, at least one, none of them empty")

    @classmethod
    def json_schema(cls, schema: Mapping[str, Any] | str, *, strict: bool = False) -> Grammar:
        """JSON that is valid by `schema`, whose keywords are all enforced or, unless `strict`, as many as can be."""
        text = schema if isinstance(schema, str) else _json_text("a JSON schema", schema)
        return cls("json_schema", text, strict)

    @classmethod
    def json_object(cls) -> Grammar:
        """Any JSON object."""
        return cls("json_object")

    @classmethod
    def regex(cls, pattern: str) -> Grammar:
        """Text that `pattern` matches as a whole (Rust's syntax: \\d and \\w are Unicode's, and there is no
        look-around and no back-reference)."""
        return cls("regex", pattern)

    @classmethod
    def lark(cls, text: str) -> Grammar:
        """Text of the rule `start`."""
        return cls("lark", text)

    @classmethod
    def choice(cls, options: Iterable[str]) -> Grammar:
        """One of the options, literally."""
        several = isinstance(options, Iterable) and not isinstance(options, str)
        return cls("choice", _json_text("a list of texts", list(options) if several else options))


def _json_text(expected: str, value: object) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequest("grammar.text", value, f"{expected} that can be written as JSON ({error})") from error


def _parsed(expected: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest("grammar.text", text, f"{expected} as JSON ({error})") from error
