"""What the target answers: token ids, in a file that only grows, so that nothing is answered twice."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from specdec.training.workspace import unwritten


@dataclass(frozen=True, slots=True)
class Answered:
    """A prompt and the target's answer to it, its end token included."""

    key: str
    category: str
    prompt: tuple[int, ...]
    answer: tuple[int, ...]

    @property
    def tokens(self) -> tuple[int, ...]:
        return self.prompt + self.answer


class AnswerFile:
    """Answers by their prompts' keys, one a line."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seconds = 0.0
        """That answering has taken, all continuations together; kept with whatever is written next."""
        self.known: dict[str, Answered] = {}
        self.begun: dict[str, Answered] = {}
        """Those that are not whole, to go on from there."""
        for line in path.read_bytes().split(b"\n") if path.exists() else ():
            with suppress(TypeError, ValueError):  # as a last line that was cut off: that prompt is asked again
                self._take(json.loads(line))
        self.by_category = Counter(answered.category for answered in self.known.values())

    def _take(self, line: Any) -> None:
        match line:
            case [key, category, [*prompt], [*answer], *begun]:
                found = Answered(str(key), str(category), tuple(map(int, prompt)), tuple(map(int, answer)))
                (self.begun if begun else self.known)[found.key] = found
                if not begun:
                    self.begun.pop(found.key, None)
            case [float(seconds)]:
                self.seconds = seconds

    def append(self, *answers: Answered) -> None:
        """Kept once this returns."""
        self.known.update((answered.key, answered) for answered in answers)
        self.by_category.update(answered.category for answered in answers)
        self._write([[a.key, a.category, a.prompt, a.answer] for a in answers])

    def keep(self, *begun: Answered) -> None:
        """Answers as far as they came."""
        self._write([[a.key, a.category, a.prompt, a.answer, "begun"] for a in begun])

    def _write(self, lines: Iterable[object]) -> None:
        clock = [[self.seconds]] if self.seconds else []
        text = "".join(json.dumps(line) + "\n" for line in (*clock, *lines))
        try:
            with self.path.open("a", encoding="ascii") as file:
                file.write(("\n" if self._cut_off() else "") + text)
        except OSError as error:
            raise unwritten(self.path, error) from error

    def _cut_off(self) -> bool:
        """Whether the file ends within a line."""
        if not self.path.stat().st_size:
            return False
        with self.path.open("rb") as file:
            file.seek(-1, 2)
            return file.read(1) != b"\n"
