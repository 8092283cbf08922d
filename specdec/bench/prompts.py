"""Prompts to measure with: built-in ones by category, or a user's files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from specdec.errors import InvalidRequest
from specdec.types import Message

_TEXT_FIELDS = ("prompt", "text", "question")


@dataclass(frozen=True, slots=True)
class BenchPrompt:
    """One prompt and the category it is counted under."""

    category: str
    messages: tuple[Message, ...]
    tools: tuple[Mapping[str, Any], ...] = ()

    def content(self, chat: bool) -> tuple[Message, ...] | str:
        """The chat, or its words alone for a model without a chat template."""
        return self.messages if chat else "\n\n".join(m.content or "" for m in self.messages)


def built_in(categories: Sequence[str] = ()) -> list[BenchPrompt]:
    """The prompts that come with the package: story, copy, chat, tools, json."""
    lines = files("specdec.bench").joinpath("prompts.jsonl").read_text("utf-8").splitlines()
    found = [prompt_of(json.loads(line), "story") for line in lines]
    known = {p.category for p in found}
    if unknown := set(categories) - known:
        raise InvalidRequest("category", min(unknown), "one of " + ", ".join(sorted(known)))
    return [p for p in found if not categories or p.category in categories]


def chosen_prompts(files: Sequence[Path], categories: Sequence[str], *, over_http: bool) -> list[BenchPrompt]:
    """The files' prompts, or the built-in ones."""
    if files and categories:
        raise InvalidRequest("category", categories[0], "no prompt files beside it")
    prompts = [p for path in files for p in from_file(path)] or built_in(categories)
    if over_http and not (files or categories):
        return [p for p in prompts if not p.tools]  # which servers parse only if they were started so
    return prompts


def from_file(path: Path) -> list[BenchPrompt]:
    """Prompts of a file: .txt with one a line, or .jsonl with a prompt, text, question, turns or messages field."""
    if path.suffix not in (".txt", ".jsonl"):
        raise InvalidRequest("prompts", str(path), "a .txt or .jsonl file")
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise InvalidRequest("prompts", str(path), f"a file of text in UTF-8 that can be read ({why})") from None
    parsed = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            parsed.append(prompt_of({"prompt": line} if path.suffix == ".txt" else json.loads(line), path.stem))
        except InvalidRequest as error:
            raise InvalidRequest(f"{path}:{number}: {error.field}", error.value, error.expected) from None
        except (json.JSONDecodeError, LookupError, TypeError, AttributeError):
            fields = "messages, turns, " + ", ".join(_TEXT_FIELDS)
            raise InvalidRequest(f"{path}:{number}", line, f"a JSON object with one of {fields}") from None
    if not parsed:
        raise InvalidRequest("prompts", str(path), "a file with at least one prompt")
    return parsed


def prompt_of(record: Mapping[str, Any], category: str) -> BenchPrompt:
    """A chat up to where the model answers; of several user turns alone, the first. Raises LookupError, TypeError or
    AttributeError for a record that has none."""
    if "messages" in record:
        messages = tuple(map(Message.of, record["messages"]))
    elif "turns" in record:
        messages = (Message("user", record["turns"][0]),)
    else:
        messages = (Message("user", record[next(filter(record.__contains__, _TEXT_FIELDS), _TEXT_FIELDS[0])]),)
    return BenchPrompt(str(record.get("category", category)), messages, tuple(record.get("tools") or ()))
