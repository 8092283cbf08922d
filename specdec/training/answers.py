"""What the target answers: token ids, in a file that only grows, so that nothing is answered twice."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

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
        self.known: dict[str, Answered] = dict(self._read())
        self.by_category = Counter(answered.category for answered in self.known.values())

    def _read(self) -> Iterator[tuple[str, Answered]]:
        """What is no answer, as a last line that was cut off, is answered again."""
        if not self.path.exists():
            return
        for line in self.path.read_bytes().split(b"\n"):
            try:
                key, category, *tokens = json.loads(line)
                prompt, answer = (tuple(map(int, part)) for part in tokens)
                yield str(key), Answered(str(key), str(category), prompt, answer)
            except (TypeError, ValueError):
                continue

    def append(self, *answers: Answered) -> None:
        """Kept once this returns."""
        self.known.update((answered.key, answered) for answered in answers)
        self.by_category.update(answered.category for answered in answers)
        lines = [json.dumps([a.key, a.category, a.prompt, a.answer]) + "\n" for a in answers]
        try:
            with self.path.open("a", encoding="ascii") as file:
                file.write(("\n" if self._cut_off() else "") + "".join(lines))
        except OSError as error:
            raise unwritten(self.path, error) from error

    def _cut_off(self) -> bool:
        """Whether the file ends within a line."""
        if not self.path.stat().st_size:
            return False
        with self.path.open("rb") as file:
            file.seek(-1, 2)
            return file.read(1) != b"\n"
