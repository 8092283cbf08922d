"""Tools whose schemas take too long to compile: they are named and left open, and the others stay held."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from specdec.errors import InvalidRequest
from specdec.grammars.check import SECONDS, TOO_COMPLEX
from specdec.grammars.compiler import compile_seconds, loosened
from specdec.text.schemas import parameters
from specdec.types import Grammar

Tool = Mapping[str, Any]
_log = logging.getLogger(__name__)
_ANY = {"type": "object", "additionalProperties": True}
_SEARCH = 4 * SECONDS
"""How long it may take to find out which tools of a request are slow; those that were not reached are open."""
_REMEMBERED = 600.0
"""Seconds, since a machine may just have been busy."""
_MOST = 256


class SlowTools:
    """Of one engine; knows for a while which were slow."""

    def __init__(self) -> None:
        self._known: dict[Grammar, float] = {}

    def ways(self, tools: Sequence[Tool]) -> Iterator[list[Tool]]:
        """The tools with schemas that can be held, then with the slow ones left open; where none is slow by itself,
        half of them after another. Strict ones never are."""
        until = math.inf
        held = []
        for tool in tools:
            held.append(self._loosened(tool, until))
            until = min(until, time.monotonic() + _SEARCH)  # not before: the first may have started the checker
        yield held
        seconds = self._seconds(held)
        while seconds:
            slow = [i for i, taken in seconds.items() if taken == math.inf]
            for i in slow or sorted(seconds, key=seconds.__getitem__)[len(seconds) // 2 :]:
                held[i] = self._opened(tools[i], remember=True)
                del seconds[i]
            yield held

    @staticmethod
    def _seconds(tools: Sequence[Tool]) -> dict[int, float]:
        """What each that may be left open takes by itself, by its index; math.inf where that is too long or unknown."""
        seconds = dict[int, float]()
        for i, tool in enumerate(tools):
            if tool["function"].get("parameters") is not _ANY and not tool["function"].get("strict"):
                spent = sum(min(taken, SECONDS) for taken in seconds.values())
                seconds[i] = compile_seconds(form_of(tool)) if spent < _SEARCH else math.inf
        return seconds

    def _loosened(self, tool: Tool, until: float) -> Tool:
        form = form_of(tool)
        if form.strict:
            return tool
        since = self._known.get(form)
        if since is not None and time.monotonic() - since < _REMEMBERED:
            return _with(tool, _ANY)
        if time.monotonic() > until:
            return self._opened(tool, remember=False)
        try:
            return _with(tool, json.loads(loosened(form).text))
        except InvalidRequest as error:
            if TOO_COMPLEX not in error.expected:
                raise
            return self._opened(tool, remember=True)

    def _opened(self, tool: Tool, *, remember: bool) -> Tool:
        name = tool["function"]["name"]
        _log.warning("the schema of the tool %r is not enforced: it is %s", name, TOO_COMPLEX)
        if remember:
            while len(self._known) >= _MOST:
                del self._known[next(iter(self._known))]
            self._known[form_of(tool)] = time.monotonic()
        return _with(tool, _ANY)


def form_of(tool: Tool) -> Grammar:
    """Of its arguments."""
    function = tool["function"]
    return Grammar.json_schema(parameters(function), strict=bool(function.get("strict")))


def _with(tool: Tool, schema: Mapping[str, Any]) -> Tool:
    return {**tool, "function": {**tool["function"], "parameters": schema}}
