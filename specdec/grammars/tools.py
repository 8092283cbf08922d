"""The Lark grammar (llguidance's) of an answer that has parts: a thought, then text, calls by their schemas, or either.

JSON in a call has the separators with which chat templates write it; see `Grammar`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

from specdec.errors import InvalidRequest
from specdec.grammars.json_schema import as_llguidance_reads
from specdec.text.schemas import parameters
from specdec.text.tools.formats import PYTHON_TAG, AnswerFormat, ArgumentTags, Thought, ToolFormat
from specdec.text.tools.heads import types_of
from specdec.types import Grammar

_OF_ANY_TEXT = {"type", "description", "title", "default", "examples"}
"""Keywords of an argument's schema that any text keeps."""
_OF_NOTATION = {
    "string": {*_OF_ANY_TEXT, "enum", "const"},
    "array": {*_OF_ANY_TEXT, "items", "enum", "const"},
    "object": {*_OF_ANY_TEXT, "properties", "required", "additionalProperties", "$defs", "definitions"},
}
"""Keywords that hold in Gemma's notation; those of other types do as in JSON."""
_KEY = "/[^\\s:,<>{}\\[\\]]+/"
_ANY, _SPACE = "/(?s:.*)/", "/\\s{0,8}/"


def answer_grammar(
    answer_format: AnswerFormat,
    tools: Sequence[Mapping[str, Any]],
    choice: str,
    *,
    parallel: bool = True,
    text: Grammar | None = None,
    thought: Thought = "possible",
    most: int | None = None,
) -> Grammar:
    """What may be answered under a tool choice ("auto", "none", "required" or a name). `text`: the form of an answer
    that is text. `most`: tokens of the thought."""
    rules = _Rules(answer_format, calls=bool(tools))
    ways = []
    if choice in ("auto", "none"):
        ways.append(rules.free() if text is None else rules.form(text))
    if tools and choice != "none":
        functions = [tool["function"] for tool in tools]
        chosen = [f for f in functions if choice in ("auto", "required", f["name"])]
        several = parallel and choice in ("auto", "required")
        ways.append(rules.calls(chosen, parallel=several, led=choice == "auto" and text is None))
    return Grammar.lark("\n".join([f"start: {rules.thought(thought, most)}({' | '.join(ways)})", *rules.texts, ""]))


class _Rules:
    """Writes the parts of one format's answers; what they refer to gathers in `texts`."""

    def __init__(self, answer_format: AnswerFormat, *, calls: bool) -> None:
        self._format, self._ids, self._marks = answer_format.tools, answer_format.ids, answer_format.thought
        self._label = answer_format.label
        self._calls, self._channels = calls, answer_format.channels
        self.texts: list[str] = []
        self._numbers = count()

    def thought(self, thought: Thought, most: int | None) -> str:
        """What goes before the answer proper."""
        if self._marks is None or thought == "none":
            return ""
        begin, end = self._marks
        bounded = most is not None and f"{self.rule(f'thought[max_tokens={most}]', _ANY)} {self.literal(end)}"
        rest = f"{bounded or self.until(end)} {self._behind_thought()}"
        return f"{rest} " if thought == "open" else f"({self.literal(begin + self._label)} {rest})? "

    def _behind_thought(self) -> str:
        return self.literal(self._channels.next) if self._channels else _SPACE

    def form(self, form: Grammar) -> str:
        return f"{self.literal(self._channels.text if self._channels else '')} {self.rule('form', _embedded(form))}"

    def free(self) -> str:
        """Any text that is not the start of a call."""
        if self._channels is not None:
            return f"{self.literal(self._channels.text)} {_ANY}"
        if self._format is None or not self._calls:
            return _ANY
        begin = self._format.begin
        if not begin:
            return '/\\s*[^\\s{](?s:.*)/ | ""'
        if any(mark in begin for mark in self._ids):
            return _ANY
        return self.rule("TEXT", f"{_ANY} & ~/(?s:.*){_pattern(begin)}(?s:.*)/")

    def calls(self, functions: Sequence[Mapping[str, Any]], *, parallel: bool, led: bool) -> str:
        """One call or more; `led`: text may go before."""
        of, names = self._format, list[str]()
        assert of is not None
        for i, function in enumerate(functions):
            name, strict = function["name"], bool(function.get("strict"))
            if of.head is not None and of.head.tags is not None:
                arguments = self._tagged(of.head.tags, parameters(function), strict=strict)
            elif of.head is not None and of.head.quote:
                arguments = _Notation(self, of.head.quote, parameters(function), strict=strict).arguments
            else:
                arguments = self.rule(f"arguments_{i}", _json(parameters(function), strict=strict))
            names.append(self.rule(f"call_{i}", self._one_call(of, name, arguments)))
        call = self.rule("call", f"({' | '.join(names)}) {self.literal(of.tail)}")
        more = f"({self.literal(of.between)} {call})*" if parallel and of.between is not None else ""
        if self._channels is not None and self._marks is not None:
            lead = f"{self.literal(self._channels.lead)} {self.until(self._marks[1])} {self._behind_thought()}"
            return f"({lead})? {call}" if led else call
        gap = f"({self.literal(of.gap)})? " if of.gap else ""
        begin = gap + self.literal(of.begin) if of.begin else f"({self.literal(PYTHON_TAG)})?"
        begin = self.until(of.begin) if led and of.begin else begin
        return " ".join(filter(None, (begin, self.literal(of.before), call, more, self.literal(of.after))))

    def _one_call(self, of: ToolFormat, name: str, arguments: str) -> str:
        if of.head is None:
            head = f'{{"name": {json.dumps(name, ensure_ascii=False)}, "{of.arguments}": '
            return f'{json.dumps(head)} {arguments} "}}"'
        mark, pattern = of.head.number
        number = f"{self.literal(mark)} /{pattern}/" if pattern else ""
        return f"{self.literal(of.head.lead + name)} {number} {self.literal(of.head.name_end)} {arguments}"

    def _tagged(self, tags: ArgumentTags, schema: Mapping[str, Any], *, strict: bool) -> str:
        """The pairs in the order of the schema, or any where it does not name them."""
        named, required = schema.get("properties") or {}, schema.get("required", ())
        if not named and schema.get("additionalProperties", True) is not False:
            key = f"{self.literal(tags.key)} /[^<>\\n{tags.key_end[0]}]+/"
            return f"({key} {self._valued(tags, tags.key_end, {}, None, strict=False)})*"
        tables = {name: schema[name] for name in ("$defs", "definitions") if name in schema}
        pairs = [f"({self.literal(tags.empty)})?"] if tags.empty and not required else []
        for name, described in named.items():
            start, types = f"{tags.key}{name}{tags.key_end}", types_of(schema, name)
            pair = self._valued(tags, start, {**described, **tables}, types, strict=strict)
            pairs.append(pair if name in required else f"{pair}?")
        return " ".join(pairs)

    def _valued(
        self, tags: ArgumentTags, start: str, described: Mapping[str, Any], types: set[str] | None, *, strict: bool
    ) -> str:
        """A value behind `start`: a text, or any other, as its schema says."""
        end, ways = self.literal(tags.value_end + tags.gap), list[str]()
        if types == {"string"} and "enum" in described:
            options = " | ".join(map(self.literal, described["enum"]))
            ways.append(f"{self.literal(start + tags.value)} ({options}) {end}")
        elif types is None or "string" in types:
            if strict and (beyond := described.keys() - _OF_ANY_TEXT - {"$defs", "definitions"}):
                raise InvalidRequest("grammar", sorted(beyond), "none of an argument that stands without quotes")
            text = f"{self.until(tags.value_end)} {self.literal(tags.gap)}"
            ways.append(f"{self.literal(start + tags.value)} {text}")
        if types != {"string"} and (tags.other or (types is not None and "string" not in types)):
            value = self.rule(self.new("value"), _json(described, strict=strict))
            ways.append(f"{self.literal(start + (tags.other or tags.value))} {value} {end}")
        return f"({' | '.join(ways)})"

    def until(self, mark: str) -> str:
        """Any text, then the mark."""
        at = min((mark.index(token) for token in self._ids if token in mark), default=len(mark))
        if at == 0:
            return f"{_ANY} {self.literal(mark)}"
        lazy = "[lazy]" if at == len(mark) else ""  # else the token tells where the text ends
        text = self.rule(f"{self.new('until')}{lazy}", f"/(?s:.*){_pattern(mark[:at])}/")
        return f"{text} {self.literal(mark[at:])}"

    def literal(self, text: str) -> str:
        """Text in which marks are their tokens."""
        marks = "|".join(map(re.escape, self._ids)) or "(?!)"
        parts = filter(None, re.split(f"({marks})", text))
        return " ".join(f"<[{self._ids[p]}]>" if p in self._ids else json.dumps(p) for p in parts)

    def new(self, kind: str) -> str:
        """A name for a rule."""
        return f"{kind}_{next(self._numbers)}"

    def rule(self, name: str, body: str) -> str:
        self.texts.append(f"{name}: {body}")
        return name.partition("[")[0]


class _Notation:
    """Writes the rules of one tool's arguments in Gemma's notation (see `NotationReader`), its keys in the order in
    which templates sort them."""

    def __init__(self, rules: _Rules, quote: str, schema: Mapping[str, Any], *, strict: bool) -> None:
        self._rules, self._quote, self._root, self._strict = rules, quote, schema, strict
        self._referred: dict[str, str] = {}
        """The rules of what was referred to."""
        self.arguments = self._value(schema)

    def _value(self, schema: Any) -> str:
        """The rule of a value."""
        match schema:
            case {"$ref": str(reference)}:
                return self._reference(reference)
            case {"enum": [*values]}:
                body = " | ".join(self._rules.literal(self._written(value)) for value in values)
            case {"const": value}:
                body = self._rules.literal(self._written(value))
            case {"anyOf": [*ways]} | {"oneOf": [*ways]}:
                body = " | ".join(map(self._value, ways))
            case {"type": [*kinds]}:
                body = " | ".join(self._value({**schema, "type": kind}) for kind in kinds)
            case {"type": "integer" | "number" | "boolean" | "null"}:
                body = _json(schema, strict=self._strict)
            case {"type": "string"}:
                body = self._text()
            case {"type": "array"}:
                body = self._listed("[", self._value(schema.get("items")), "]")
            case {"type": "object"} | {"properties": {}}:
                body = self._object(schema)
            case _:
                return self._any()
        kept = _OF_NOTATION.get(str(schema.get("type")), schema.keys())
        if self._strict and (beyond := schema.keys() - kept):
            raise InvalidRequest("grammar", sorted(beyond), "none of an argument that is not written as JSON")
        return self._named(body)

    def _object(self, schema: Mapping[str, Any]) -> str:
        named, required = schema.get("properties") or {}, set(schema.get("required", ()))
        if not named:
            more = schema.get("additionalProperties", True)
            return '"{}"' if more is False else self._listed("{", f'{_KEY} ":" {self._value(more)}', "}")
        keys = sorted(named, key=str.lower)
        pairs = [self._named(f"{self._rules.literal(key + ':')} {self._value(named[key])}") for key in keys]
        rests = ['"}"']
        for key, pair in zip(reversed(keys[1:]), reversed(pairs[1:]), strict=True):
            follows = f'"," {pair}' if key in required else f'("," {pair})?'
            rests.append(self._named(f"{follows} {rests[-1]}"))
        first = next((i for i, key in enumerate(keys) if key in required), len(keys))
        ways = [f"{pair} {rest}" for pair, rest in zip(pairs[: first + 1], reversed(rests), strict=False)]
        return f'"{{" ({" | ".join(ways if first < len(keys) else [*ways, rests[0]])})'

    def _reference(self, reference: str) -> str:
        match reference.split("/"):
            case ["#", "$defs" | "definitions" as table, name] if name in self._root.get(table, {}):
                if reference not in self._referred:
                    rule = self._referred[reference] = self._rules.new("referred")
                    self._rules.rule(rule, self._value(self._root[table][name]))
                return self._referred[reference]
        return self._any()

    def _any(self) -> str:
        if "" not in self._referred:
            rule = self._referred[""] = self._rules.new("any")
            lists = self._listed("[", rule, "]"), self._listed("{", f'{_KEY} ":" {rule}', "}")
            plain = self._named(_json({"type": ["number", "boolean", "null"]}, strict=True))
            self._rules.rule(rule, " | ".join((self._text(), plain, *lists)))
        return self._referred[""]

    def _text(self) -> str:
        return f"{self._rules.literal(self._quote)} {self._rules.until(self._quote)}"

    @staticmethod
    def _listed(begin: str, item: str, end: str) -> str:
        return f'"{begin}" ({item} ("," {item})*)? "{end}"'

    def _written(self, value: Any) -> str:
        if isinstance(value, str):
            return self._quote + value + self._quote
        if isinstance(value, Mapping):
            return f"{{{','.join(f'{key}:{self._written(value[key])}' for key in sorted(value, key=str.lower))}}}"
        if isinstance(value, list):
            return f"[{','.join(map(self._written, value))}]"
        return json.dumps(value)

    def _named(self, body: str) -> str:
        return self._rules.rule(self._rules.new("value"), body)


def _pattern(text: str) -> str:
    return re.escape(text).replace("/", "\\/").replace("\\\n", "\\n")


def _json(schema: Any, *, strict: bool) -> str:
    return "%json " + json.dumps(as_llguidance_reads(schema, strict=strict), ensure_ascii=False)


def _embedded(grammar: Grammar) -> str:
    """A grammar as a part of another."""
    if grammar.kind == "json_schema":
        return _json(json.loads(grammar.text), strict=grammar.strict)
    if grammar.kind == "json_object":
        return _json({"type": "object"}, strict=True)
    if grammar.kind == "regex":
        return "/" + re.sub(r"(?<!\\)((?:\\\\)*)/", r"\1\\/", grammar.text) + "/"
    if grammar.kind == "choice":
        return " | ".join(map(json.dumps, json.loads(grammar.text)))
    return f"%lark {{\n{grammar.text}\n}}"
