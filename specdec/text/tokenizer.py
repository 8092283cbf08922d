"""The checkpoint's own tokenizer and chat template.

Nothing is reimplemented that decides which tokens a prompt becomes: that is the checkpoint's own, through transformers.
Text is the other way around: it comes from `Detokenizer`, so that streamed and whole text cannot differ.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from specdec.errors import (
    CheckpointCorrupt,
    CheckpointNotFound,
    InvalidRequest,
    TokenizerMismatch,
    UnsupportedModel,
)
from specdec.files import mistaken
from specdec.gguf import is_gguf, open_gguf
from specdec.text import deepseek, gguf
from specdec.text.detokenizer import Detokenizer
from specdec.text.filling import FillMarks, Part
from specdec.text.history import one_call_each, thinking_aloud, thought_field
from specdec.text.pieces import Pieces, fallback_byte, pieces_of
from specdec.text.placement import placements, shows_systems
from specdec.text.quoting import Quoting
from specdec.text.reasoning import ReasoningControl
from specdec.text.tools.formats import AnswerFormat
from specdec.types import Message, token_text

_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "tekken.json",
)
_JSON = json.JSONEncoder(ensure_ascii=False)
_BESIDE = "\N{WHITE SMILING FACE}"
"""A letter that becomes the same tokens whatever follows."""


@dataclass(frozen=True, slots=True)
class ChatPrompt:
    """What a chat becomes."""

    text: str
    tokens: list[int]


class Tokenizer:
    """Text and chats to tokens, tokens to text, as the checkpoint says.

    `backing` is a tokenizer of transformers; `more_eos` are ids that end an answer beside the backing's own.
    """

    def __init__(self, backing: Any, more_eos: Sequence[int] = ()) -> None:
        self._backing = backing
        self._fast: Any = getattr(backing, "backend_tokenizer", None)
        own = () if backing.eos_token_id is None else (int(backing.eos_token_id),)
        self.eos_ids: tuple[int, ...] = tuple(dict.fromkeys((*own, *more_eos)))
        """Ids that end an answer: the tokenizer's and the generation config's."""

    @classmethod
    def load(cls, path: Path, *, trust_remote_code: bool = False) -> Tokenizer:
        """Read the tokenizer in the folder or the GGUF file `path`. Never reaches out to the network."""
        if is_gguf(path):
            file = open_gguf(path)
            return cls(gguf.backing(file), gguf.eos_ids(file))
        if not path.is_dir():
            raise CheckpointNotFound(f"tokenizer: no folder {path}; expected a checkpoint's folder")
        if not any((path / name).is_file() for name in _FILES):
            raise CheckpointCorrupt(f"tokenizer: no {_FILES[0]} in {path}; expected the checkpoint's tokenizer files")
        for name in _FILES:
            if reason := mistaken(path / name):
                raise CheckpointCorrupt(f"tokenizer: {path / name} is {reason}")
        from transformers import AutoTokenizer

        try:
            backing = AutoTokenizer.from_pretrained(
                str(path), trust_remote_code=trust_remote_code, local_files_only=True
            )
        except Exception as error:  # the library raises whatever its parsers raise
            if "trust_remote_code" in str(error):
                raise UnsupportedModel(f"tokenizer: {path} brings its own code; expected trust_remote_code") from error
            raise CheckpointCorrupt(f"tokenizer: {path} cannot be read: {_one_line(error)}") from error
        backing.chat_template = backing.chat_template or deepseek.chat_template(path)
        return cls(backing, _config_eos(path))

    def save(self, folder: Path) -> None:
        """Write it as the files of a checkpoint's folder."""
        self._backing.save_pretrained(str(folder))

    # ---- text to tokens

    def encode(self, text: str, *, special: bool = True) -> list[int]:
        """A raw prompt, with the special tokens that the tokenizer itself adds (usually bos)."""
        _check_unicode("prompt", text)
        return [int(i) for i in self._backing.encode(text, add_special_tokens=special, verbose=False)]

    def encode_plain(self, text: str) -> list[int]:
        """Text that continues something: no special tokens are added."""
        return self.encode(text, special=False)

    def fill(self, prompt: str, suffix: str) -> list[int]:
        """What asks the model for the text between both. Names of special tokens in them are text."""
        if self.fill_marks is None:
            expected = "none: this checkpoint's tokenizer has no marks around a text that is to be filled in"
            raise InvalidRequest("suffix", suffix, expected)
        _check_unicode("prompt", prompt, suffix)
        parts: dict[Part, list[int]] = {"prompt": self._encode_quoted(prompt), "suffix": self.encode_going_on(suffix)}
        return self.encode("") + self.fill_marks.around(parts)

    @cached_property
    def fill_marks(self) -> FillMarks | None:
        """The tokenizer's own marks around a text that is to be filled in."""
        return FillMarks.of({name: token for token, name in self.names.items()})

    def encode_going_on(self, text: str) -> list[int]:
        """Without the space that some tokenizers put before the first word, which is no part of a text's middle."""
        if not self.token_text(self.encode_plain("a")[0]).startswith(" "):
            return self._encode_quoted(text)
        before = self._encode_quoted(_BESIDE)
        both = self._encode_quoted(_BESIDE + text)
        return both[len(before) :] if both[: len(before)] == before else self._encode_quoted(text)

    def _encode_quoted(self, text: str) -> list[int]:
        quoting = self._quoting
        return self.encode_plain(text) if quoting is None else quoting.encode(quoting.quoted(text))

    @cached_property
    def has_chat_template(self) -> bool:
        return bool(getattr(self._backing, "chat_template", None))

    def chat(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] = (),
        variables: Mapping[str, Any] | None = None,
    ) -> ChatPrompt:
        """The chat as the template writes it with these variables (with bos where the model wants one), up to where the
        answer starts. System messages are moved where it does not take or show them (see `placement`); thoughts and
        calls are told as it wants them (see `history`); names of special tokens are text (see `quoting`)."""
        if not self.has_chat_template:
            raise InvalidRequest("prompt", [m.role for m in messages], "text: this checkpoint has no chat template")
        _check_unicode("messages.content", *(message.content or "" for message in messages))
        offered, given = [dict(tool) for tool in tools], dict(variables or {})
        chat, text = self._placed(messages, offered, given)
        tokens = self.encode(text, special=False)
        if self._quoting is not None and self._quoting.is_needed(tokens, [chat, offered, given]):
            tokens = self._quoting.encode(self._written(*self._quoting.quoted([chat, offered, given])))
        return ChatPrompt(text, tokens)

    def _placed(
        self, messages: Sequence[Message], tools: list[dict[str, Any]], variables: dict[str, Any]
    ) -> tuple[list[dict[str, Any]], str]:
        """The nearest chat of which the template shows every system text, else the nearest that it takes; its text."""
        refused, taken = list[InvalidRequest](), list[tuple[list[dict[str, Any]], str]]()
        for chat in self._forms(messages):
            try:
                taken.append((chat, self._written(chat, tools, variables)))
            except InvalidRequest as error:
                refused.append(error)
                continue
            if shows_systems(taken[-1][1], messages):
                return taken[-1]
        if not taken:
            raise refused[0]
        return taken[0]

    def _forms(self, messages: Sequence[Message]) -> Iterator[list[dict[str, Any]]]:
        if self._calls_once:
            messages = list(one_call_each(messages))
        calls = any(message.tool_calls for message in messages)
        for way in (messages, thinking_aloud(messages)) if calls else (messages,):
            for placed in placements(way):
                chat = [_as_openai(message, self._thought_field) for message in placed]
                yield chat
                if calls:  # some templates want arguments as text
                    yield [_with_texts(message) for message in chat]

    @cached_property
    def _thought_field(self) -> str | None:
        return thought_field(self.template)

    @cached_property
    def _calls_once(self) -> bool:
        """Whether the template writes one call a turn; some leave further ones out in silence."""
        tools = AnswerFormat.of("auto", self.template, self.added).tools
        return tools is not None and tools.between is None

    def _written(self, chat: list[dict[str, Any]], tools: list[dict[str, Any]], variables: dict[str, Any]) -> str:
        try:
            text = self._backing.apply_chat_template(
                chat, tools=tools or None, add_generation_prompt=True, tokenize=False, **variables
            )
        except Exception as error:  # templates are programs: any of jinja's errors and Python's own
            expected = f"a chat that the checkpoint's template takes ({_one_line(error)})"
            raise InvalidRequest("messages", [message["role"] for message in chat], expected) from error
        return str(text)

    @cached_property
    def _quoting(self) -> Quoting | None:
        return Quoting(self._fast) if self._fast is not None else None

    @property
    def template(self) -> str:
        """The chat template that is used with tools; "" where there is none."""
        template = getattr(self._backing, "chat_template", None) or ""
        if isinstance(template, dict):
            template = template.get("tool_use", template.get("default", ""))
        return str(template)

    @cached_property
    def reasoning(self) -> ReasoningControl:
        """How the template is told of reasoning."""
        return ReasoningControl.of(self.template)

    # ---- tokens to text

    def decode(self, ids: Sequence[int]) -> str:
        """The text of the tokens, special ones skipped; the same as `Detokenizer` streams."""
        detokenizer = Detokenizer.of(self)
        return "".join(map(detokenizer.push, ids)) + detokenizer.flush()

    def token_text(self, token: int) -> str:
        """One token by itself, for display."""
        return token_text(self.token_bytes(token))

    def token_bytes(self, token: int) -> bytes:
        """One token by itself; of special tokens their names."""
        name = self._token_of(token)
        if name is None:
            return f"<{token}>".encode()
        if token in self._special:
            return name.encode()
        if self.pieces is not None:
            return self.pieces[token]
        text = self.decode_window([token])
        if not text or "\N{REPLACEMENT CHARACTER}" in text:
            return fallback_byte(name) or name.replace("\N{LOWER ONE EIGHTH BLOCK}", " ").encode()
        spaced = name.startswith("\N{LOWER ONE EIGHTH BLOCK}") and not text.startswith(" ")
        return (" " + text if spaced else text).encode()

    @cached_property
    def pieces(self) -> Pieces | None:
        """The bytes of each token, where the decoder allows it (see `pieces`)."""
        if self._fast is None:
            return None
        return pieces_of(self._fast.decoder, self._fast.id_to_token, self._special)

    def is_silent(self, token: int) -> bool:
        """Special and unknown ids add nothing to the text."""
        return token in self._special or self._token_of(token) is None

    def decode_window(self, ids: Sequence[int]) -> str:
        """The library's own text of these ids, special ones included."""
        if self._fast is not None:
            return str(self._fast.decode(list(ids), skip_special_tokens=False))
        return str(self._backing.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))

    @property
    def response_template(self) -> dict[str, Any] | None:
        """transformers' own description of the checkpoint's answers, where it brings one."""
        return getattr(self._backing, "response_template", None)

    @cached_property
    def special_names(self) -> dict[int, str]:
        """Tokens that add nothing to the text."""
        return {token: self._token_of(token) or "" for token in self._special}

    @cached_property
    def _special(self) -> frozenset[int]:
        added = self._backing.added_tokens_decoder
        return frozenset(i for i, token in added.items() if token.special) | frozenset(self._backing.all_special_ids)

    def _token_of(self, token: int) -> str | None:
        if self._fast is not None:
            name: str | None = self._fast.id_to_token(token)
            return name
        return self.names.get(token)

    # ---- vocabulary

    def serialized(self) -> str | None:
        """As tokenizer.json would hold it, added tokens included; None where the tokenizer is not a fast one."""
        if self._fast is None:
            return None
        backend = copy.copy(self._fast)
        backend.no_padding()
        backend.no_truncation()
        return str(backend.to_str())

    @cached_property
    def names(self) -> dict[int, str]:
        """Every id and its token, added ones included."""
        return {int(i): name for name, i in self._backing.get_vocab().items()}

    @cached_property
    def vocab_size(self) -> int:
        """The highest id + 1, added tokens included."""
        return max(self.names, default=-1) + 1

    @cached_property
    def added(self) -> dict[str, int]:
        """Tokens that were added to the trained vocabulary, by their text."""
        return {str(token.content): int(i) for i, token in self._backing.added_tokens_decoder.items()}

    @cached_property
    def added_ids(self) -> frozenset[int]:
        """Ids of tokens that were added to the trained vocabulary."""
        return frozenset(self.added.values())


def check_same_tokens(target: Tokenizer, draft: Tokenizer, target_name: str, draft_name: str) -> None:
    """Raise TokenizerMismatch unless the same id means the same token to both.

    Beyond the smaller vocabulary one of them may have added tokens (as sizes of one family do): those are never
    drafted, or never accepted. Ordinary tokens may not be missing.
    """
    common = min(target.vocab_size, draft.vocab_size)
    for token in sorted(target.names.keys() | draft.names.keys()):
        ours, theirs = target.names.get(token), draft.names.get(token)
        if ours == theirs:
            continue
        if token >= common and token in (target.added_ids if theirs is None else draft.added_ids):
            continue
        raise TokenizerMismatch(
            f"token {token} is {_shown(ours)} to {target_name} and {_shown(theirs)} to {draft_name}; "
            "expected a draft model with the target's own tokenizer"
        )


def _shown(name: str | None) -> str:
    return "nothing" if name is None else repr(name)


def _as_openai(message: Message, thought: str | None) -> dict[str, Any]:
    """The dict that templates expect. Keys without a value are left out: templates test for their presence."""
    given = {"name": message.name, "tool_call_id": message.tool_call_id}
    out: dict[str, Any] = {"role": message.role, "content": message.content or ""}
    if thought is not None:
        given[thought] = message.reasoning
    elif message.reasoning is not None:
        text = [{"type": "text", "text": message.content}] if message.content else []
        out["content"] = [{"type": "thinking", "thinking": message.reasoning}, *text]
    out |= {key: value for key, value in given.items() if value is not None}
    for call in message.tool_calls:
        arguments: Any = call.arguments
        with suppress(ValueError):  # templates write JSON themselves, so they want the object and not its text
            value = json.loads(call.arguments)
            arguments = value if isinstance(value, dict) else arguments
        function = {"name": call.name, "arguments": arguments}
        out.setdefault("tool_calls", []).append({"id": call.id, "type": "function", "function": function})
    return out


def _with_texts(message: dict[str, Any]) -> dict[str, Any]:
    """The same, with the arguments of calls as JSON text."""
    if "tool_calls" not in message:
        return message
    functions = [call["function"] for call in message["tool_calls"]]
    texts = [f["arguments"] if isinstance(f["arguments"], str) else _JSON.encode(f["arguments"]) for f in functions]
    calls = zip(message["tool_calls"], functions, texts, strict=True)
    return message | {"tool_calls": [c | {"function": f | {"arguments": text}} for c, f, text in calls]}


def _config_eos(path: Path) -> tuple[int, ...]:
    """The eos ids of generation_config.json, else of config.json; damaged files are for the model's loader."""
    for name in ("generation_config.json", "config.json"):
        try:
            value = json.loads((path / name).read_text(encoding="utf-8")).get("eos_token_id")
        except (OSError, ValueError, AttributeError):
            continue
        ids = value if isinstance(value, list) else [value]
        if found := tuple(i for i in ids if isinstance(i, int)):
            return found
    return ()


def _check_unicode(name: str, *texts: str) -> None:
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InvalidRequest(name, text, "text without unpaired surrogates") from error


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else text[:197] + "..."
