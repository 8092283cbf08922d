"""The slash commands: their table, how a line is read, and how it is completed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from specdec.errors import InvalidRequest
from specdec.types.request import EFFORTS
from specdec_tui.core import files
from specdec_tui.core.config import THEME_NAMES, Config
from specdec_tui.core.models import models
from specdec_tui.core.settings import NAMES, Values
from specdec_tui.core.store import Store


@dataclass(frozen=True, slots=True)
class Command:
    """One command. `choices` names what its argument is completed from."""

    name: str
    usage: str
    help: str
    choices: str = ""


COMMANDS = (
    Command("help", "", "keys and commands"),
    Command("new", "", "begin another chat"),
    Command("sessions", "[words]", "open, search, rename, delete"),
    Command("history", "[words]", "prompts of all chats, to ask again"),
    Command("trim", "", "go on in a new chat without this one's older half"),
    Command("summary", "", "go on in a new chat from a summary of this one"),
    Command("rename", "title", "name this chat"),
    Command("save", "[file]", "export as Markdown, or JSON for a .json"),
    Command("system", "[text]", "system prompt; alone it clears it"),
    Command("set", "name value", "a parameter: temperature 0.7", "setting"),
    Command("params", "", "all parameters in a panel"),
    Command("preset", "name", "a set of parameters; `save name` keeps the present ones", "preset"),
    Command("model", "[name]", "another target: bundled, folder, hub id", "model"),
    Command("draft", "[name]", "what drafts: auto, none, lookup, folder, hub id", "draft"),
    Command("train", "", "copy the command that makes a draft for this model"),
    Command("compare", "", "the last prompt plain and speculative, same seed"),
    Command("tokens", "", "the answer as tokens, by where each came from"),
    Command("rejected", "", "show or hide rejected drafts among the tokens"),
    Command("gauge", "", "the gauge: all figures, none, or those that people look at"),
    Command("retry", "", "answer again"),
    Command("edit", "", "change your last prompt and branch"),
    Command("copy", "[code]", "the last answer, or its last code block", "copy"),
    Command("json", "on|off", "answers are JSON objects", "switch"),
    Command("schema", "file", "answers follow a JSON schema; `off` ends it"),
    Command("tools", "[files|off|file]", "offer two that read this folder, or a JSON list in OpenAI's form", "tools"),
    Command("think", "[level]", "before it answers: on, off, auto, low, medium, high ...", "thinking"),
    Command("result", "text", "what the last tool call returned"),
    Command("restart", "", "load the engine again; the chat stays"),
    Command("theme", "name", "colours", "theme"),
    Command("quit", "", "leave; everything is saved"),
)
_BY_NAME = {c.name: c for c in COMMANDS}


def is_command(line: str) -> bool:
    return line.removeprefix("/").partition(" ")[0] in _BY_NAME


def for_app(line: str) -> bool:
    """A command, or a word alone that was meant as one. All else that begins with a slash is a question."""
    name, *more = line[1:].split() or [""]
    if not line.startswith("/") or is_command(line) or more:
        return line.startswith("/") and is_command(line)
    return bool(get_close_matches(name, _BY_NAME, 1)) or any(known.startswith(name) for known in _BY_NAME)


def parse(line: str) -> tuple[str, str]:
    """A command's name and its argument. Raises InvalidRequest for what is none."""
    name, _, argument = line.removeprefix("/").partition(" ")
    if name not in _BY_NAME:
        near = get_close_matches(name, _BY_NAME, 1)
        raise InvalidRequest("command", f"/{name}", f"/{near[0]}, or one of /help" if near else "one of /help")
    return name, argument.strip()


@dataclass(frozen=True, slots=True)
class Suggestion:
    """What a line could become, and what to say about it."""

    line: str
    label: str
    help: str = ""


def presets(config: Config, store: Store | None) -> dict[str, Values]:
    """Built in, from the config file, and saved; the later ones win."""
    return {**config.presets, **(store.presets() if store else {})}


def choices(kind: str, config: Config, store: Store | None) -> Iterable[str]:
    """What a command's argument is completed from."""
    match kind:
        case "setting":
            return NAMES
        case "preset":
            return (*presets(config, store), "save ")
        case "model":
            return [m.name for m in models(config.folders)]
        case "draft":
            return ["auto", "none", "lookup", *(m.name for m in models(config.folders))]
        case "theme":
            return THEME_NAMES
        case _:
            return _WORDS[kind]


_WORDS: dict[str, tuple[str, ...]] = {
    "switch": ("on", "off"),
    "copy": ("code",),
    "tools": ("files", "off"),
    "thinking": ("on", "off", "auto", *EFFORTS),
}


def complete(line: str, choices: Callable[[str], Iterable[str]]) -> list[Suggestion]:
    """How a line that begins with a slash, or ends in @ and a part of a path, could go on. `choices` goes from a
    Command's to what could be typed."""
    if not line.startswith("/") or "\n" in line:
        return [Suggestion(files.completed(line, path), f"@{path}") for path in files.complete(line)]
    name, space, argument = line[1:].partition(" ")
    if not space:
        found = [c for c in COMMANDS if c.name.startswith(name)]
        return [Suggestion(f"/{c.name} " if c.usage else f"/{c.name}", f"/{c.name} {c.usage}", c.help) for c in found]
    command = _BY_NAME.get(name)
    if command is None or not command.choices:
        return []
    fitting = [c for c in choices(command.choices) if argument.lower() in c.lower() and c != argument]
    return [Suggestion(f"/{name} {c}", c) for c in fitting[: files.SUGGESTED]]
