"""Reads one call, a JSON object of a name and arguments, while it is still being written."""

from __future__ import annotations

import json


class CallScanner:
    """Takes text from the object's opening brace on. Says nothing before the name is known, and never fails: an
    object without a name is told by `name` being None when it is `done`."""

    def __init__(self) -> None:
        self.raw = ""
        """All that was read."""
        self.name: str | None = None
        self.call_id = ""
        self.done = False
        self._depth = 0
        self._quoted = self._escaped = False
        self._key: str | None = None
        """The key of the outer object whose value is being read."""
        self._part = ""
        """The key or value of the outer object, as far as it was read."""
        self._new = ""
        """Arguments that were not handed out yet."""

    @property
    def quoted(self) -> bool:
        """Inside a string."""
        return self._quoted

    def feed(self, text: str) -> tuple[tuple[bool, str], str]:
        """Whether the name has come to be known and which arguments were added; and the text behind the object."""
        known, at = self.name is not None, 0
        for letter in text:
            at += 1
            if self._quoted:
                self._quoted = self._escaped or letter != '"'
                self._escaped = not self._escaped and letter == "\\"
            elif letter == '"':
                self._quoted = True
            elif letter in "{[":
                self._depth += 1
                if self._depth == 1:
                    continue
            elif letter in "}]":
                self._depth -= 1
                self.done = self._depth == 0
            if self._depth <= 1 and not self._quoted and letter in ":,}":
                self._turn(letter)
            else:
                self._add(letter)
            if self.done:
                break
        self.raw += text[:at]
        if self.name is None:
            return (False, ""), text[at:]
        arguments, self._new = self._new, ""
        return (not known, arguments), text[at:]

    def _turn(self, letter: str) -> None:
        """Between a key and its value, behind a value, or the closing brace of the value or of the whole."""
        if letter == "}" and not self.done:
            self._add(letter)
        elif letter == ":" and self._key is None:
            self._key, self._part = str(_value(self._part)), ""
        else:
            if self._key == "name" and isinstance(name := _value(self._part), str):
                self.name = name
            elif self._key in ("arguments", "parameters") and not self._streaming:
                self._new += str(_value(self._part))
            self._key, self._part = None, ""

    def _add(self, letter: str) -> None:
        if not self._part and letter.isspace():
            return
        self._part += letter
        if self._streaming and not (letter.isspace() and self._depth <= 1):
            self._new += letter

    @property
    def _streaming(self) -> bool:
        """Arguments that are an object, not the text of one."""
        return self._key in ("arguments", "parameters") and not self._part.startswith('"')


def _value(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text
