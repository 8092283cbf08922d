"""Answers of checkpoints that bring transformers' own description of how they are read, their response template.

The library finds the parts; here they become content, reasoning and calls as they come. A call comes out once it is
whole, since only then the library knows its arguments. As in `parser`, nothing fails on half an answer or a wrong one.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from specdec.errors import CheckpointCorrupt
from specdec.types import ContentDelta, Delta, ReasoningDelta, ToolCallDelta, merged

_CALLS = "tool_calls"
_THOUGHTS = ("reasoning_content", "reasoning", "thinking")


@dataclass(frozen=True, slots=True)
class ResponseTemplate:
    """One that the library can read, and the names of special tokens, which are what it looks for in the text."""

    loaded: Any
    special: Mapping[int, str]

    @property
    def thinks(self) -> bool:
        """Whether it tells thoughts apart."""
        return any(name in self.loaded.fields for name in _THOUGHTS)

    @classmethod
    def of(cls, described: Mapping[str, Any] | None, special: Mapping[int, str]) -> ResponseTemplate | None:
        """None where a checkpoint brings none."""
        if described is None:
            return None
        from transformers.utils.chat_parsing.response_templates import load_response_template

        try:
            return cls(load_response_template(dict(described)), special)
        except ValueError as error:
            expected = "one that transformers reads, or tool_format='none' to go without it"
            raise CheckpointCorrupt(f"tokenizer: its response_template: {error}; expected {expected}") from error


class TemplateParser:
    """Reads one answer behind `prompt`. `calls`: whether tools were offered."""

    def __init__(
        self, template: ResponseTemplate, prompt: str, tools: Sequence[Mapping[str, Any]], *, calls: bool
    ) -> None:
        from transformers.utils.chat_parsing import ResponseParser

        self._special, self._calls = template.special, calls
        self._parser = ResponseParser(template.loaded, prefix=prompt, tools=[dict(tool) for tool in tools])
        self._fields = template.loaded.fields
        self._region = ""
        """What the open region has brought, unless it was told."""
        self._spaces = ""
        """Whitespace that is dropped if the region ends behind it."""
        self._blank = True
        """Nothing but whitespace was read of the region."""
        self._index = 0
        self.thinking = any(event["field"] in _THOUGHTS for event in self._parser.initial_events[-1:])
        self._broken = False
        """The library cannot go on: all else is content."""

    def push(self, token: int, text: str) -> list[Delta]:
        """What a token adds; see `Parser`. Letter by letter, so that nothing depends on how a text is cut."""
        letters = text or ("" if self._broken else self._special.get(token, ""))
        return list(merged(delta for letter in letters for delta in self._read(letter)))

    def finish(self, *, cut: bool = False) -> list[Delta]:
        """The answer ends here; see `Parser`."""
        return [] if cut or self._broken else list(self._read(""))

    def _read(self, letter: str) -> Iterator[Delta]:
        """Of a letter that was added, or of "" at the end."""
        if self._broken:
            yield ContentDelta(letter)
            return
        try:
            events = self._parser.feed(letter) if letter else self._parser.finalize()[1]
        except (ValueError, KeyError):  # a region, which ends here, is not what its template says
            self._broken = True
            yield ContentDelta(self._region)
            return
        for event in events:
            yield from self._event(event)

    def _event(self, event: Mapping[str, Any]) -> Iterator[Delta]:
        field = event["field"]
        match event["type"]:
            case "region_open":
                self._region, self._spaces, self._blank = "", "", True
                self.thinking = field in _THOUGHTS
            case "region_chunk" if field == _CALLS and self._calls:
                self._region += event["text"]
            case "region_chunk":
                yield from self._text(field, event["text"])
            case "region_close" if field in _THOUGHTS:
                self.thinking = False
            case "region_close" if field == _CALLS and self._calls:
                made = event["value"] if isinstance(event["value"], list) else [event["value"]]
                for function in (call["function"] for call in made):
                    arguments = function.get("arguments", {})
                    text = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
                    yield ToolCallDelta(self._index, "call_" + secrets.token_hex(12), str(function["name"]), text)
                    self._index += 1

    def _text(self, field: str, text: str) -> Iterator[Delta]:
        """A part of a text: the whitespace around it is no part of it, unless the template says so."""
        if self._fields[field].content_args.get("strip", True):
            whole = self._spaces + (text.lstrip() if self._blank else text)
            text = whole.rstrip()
            self._spaces = whole[len(text) :]
        if text:
            self._blank = False
            yield ReasoningDelta(text) if field in _THOUGHTS else ContentDelta(text)
