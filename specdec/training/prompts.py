"""Prompts to learn from and to be judged on: files of the user's, chats of theirs, or those that come with us."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from specdec.bench.prompts import BenchPrompt, prompt_of
from specdec.errors import InvalidRequest
from specdec.types import Request

_HELD_OUT = 16
"""One prompt of so many is held out."""
JUDGES = 48
"""Held-out prompts that are used."""


@dataclass(frozen=True, slots=True)
class SkippedLine:
    """A line of a file that is no prompt."""

    file: Path
    number: int
    why: str

    def __str__(self) -> str:
        return f"{self.file}:{self.number}: {self.why}"


@dataclass(frozen=True, slots=True)
class TrainingPrompts:
    """Prompts in two parts that share nothing."""

    learn: tuple[BenchPrompt, ...]
    judge: tuple[BenchPrompt, ...]

    @classmethod
    def of(cls, prompts: Iterable[BenchPrompt], ours: Iterable[BenchPrompt] = ()) -> TrainingPrompts:
        """Each prompt once, `ours` last. A prompt's own words decide in which part it is, whichever others there are,
        so those that say the same are in one; where that holds none of the first ones out, one is."""
        own = {key_of(prompt): prompt for prompt in prompts}
        known = {key_of(prompt): prompt for prompt in ours} | own
        if len(known) < 2:
            raise InvalidRequest(
                "prompts", len(known), "at least two different prompts: one to learn from, one to judge"
            )
        said = {key: key_of(_plain(prompt)) for key, prompt in known.items()}
        names, first = set(filter(held_out, said.values())), {said[key] for key in own or known}
        if not names & first and (len(first) > 1 or not names):
            names.add(min(first))
        judge = sorted((key for key in known if said[key] in names), key=lambda key: (key not in own, key))
        learn = sorted((key for key in known if said[key] not in names), key=lambda key: key not in own)
        learn = learn or [judge.pop()]
        return cls(tuple(known[key] for key in learn), tuple(known[key] for key in judge[:JUDGES]))


def key_of(prompt: BenchPrompt, again: int = 0) -> str:
    """A name for a prompt, in hexadecimal, by what it says; another one for when it is asked `again`."""
    words = [[m.role, m.content, [[c.name, c.arguments] for c in m.tool_calls]] for m in prompt.messages]
    said = sha256(json.dumps([words, list(prompt.tools)], default=dict).encode()).hexdigest()[:16]
    return f"{said}{again:x}" if again else said


def held_out(key: str) -> bool:
    """Whether the prompt of that key is one to judge on."""
    return int(key, 16) % _HELD_OUT == 0


def plain(text: str) -> str:
    """Its words. Texts that differ in case, blanks and punctuation alone say the same."""
    return " ".join(re.findall(r"\w+", text.casefold()))


def _plain(prompt: BenchPrompt) -> BenchPrompt:
    return replace(prompt, messages=tuple(replace(m, content=plain(m.content or "")) for m in prompt.messages))


def read_files(files: Sequence[Path]) -> tuple[list[BenchPrompt], list[SkippedLine]]:
    """The prompts of JSON lines with a prompt, text, question, turns or messages field, and the lines that are none.
    Raises InvalidRequest for a file that cannot be read."""
    prompts: list[BenchPrompt] = []
    skipped: list[SkippedLine] = []
    for file in files:
        try:
            lines = file.read_bytes().split(b"\n")
        except OSError as error:
            raise InvalidRequest("data", str(file), f"a file that can be read ({error.strerror})") from None
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            found = _prompt(line, file.stem)
            if isinstance(found, BenchPrompt):
                prompts.append(found)
            else:
                skipped.append(SkippedLine(file, number, found))
    return prompts, skipped


def _prompt(line: bytes, category: str) -> BenchPrompt | str:
    """The prompt, or why there is none."""
    try:
        prompt = prompt_of(json.loads(line.decode("utf-8-sig")), category)
        asked = list(prompt.messages)
        while asked and asked[-1].role == "assistant":  # the target answers itself
            asked.pop()
        prompt = replace(prompt, messages=tuple(asked))
        Request(prompt.messages, tools=prompt.tools)  # refuses what makes no sense
    except ValueError as error:  # JSON, UTF-8, or a message that is refused
        return f"no prompt ({error})"
    except (LookupError, TypeError, AttributeError):
        return "no prompt; expected an object with messages, turns, prompt, text or question"
    if not any(message.content for message in prompt.messages):
        return "no words in it"
    return prompt
