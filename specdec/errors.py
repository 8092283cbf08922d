"""Every error that specdec raises on purpose.

    SpecDecError
    ├── InvalidRequest        a value of a request is wrong (also a ValueError)
    │   └── PromptTooLong         the prompt does not fit the context
    ├── LoadError             a model could not be loaded
    │   ├── CheckpointNotFound    no such folder, or a hub id that cannot be reached
    │   ├── CheckpointCorrupt     missing or damaged shards, unreadable config
    │   ├── TokenizerMismatch     draft and target do not speak the same tokens
    │   ├── UnsupportedModel      no decoder-only causal language model, weights in a form that cannot be read, or
    │   │                         remote code not allowed
    │   ├── DeviceUnavailable     the device asked for is not on this machine
    │   ├── NotEnoughMemory       the device cannot hold the model and its slots
    │   └── MissingExtra          a part of specdec is not installed (also an ImportError)
    ├── TrainingFailed        a drafter's training diverged, or had no room on its disk
    └── EngineError
        ├── EngineBusy            the queue is full; try again later
        ├── DeadlineExceeded      the answer took longer than the request allowed
        ├── OutOfMemory           the device had no room for this request; the engine goes on
        ├── GrammarFailed         an answer can no longer follow its grammar
        ├── InvalidLogits         the model computed NaN or infinite logits; the engine goes on
        ├── EngineClosed          the engine takes no requests: closed, or down for now
        └── EngineFailed          the worker died; `__cause__` says of what

Messages are one line: what is wrong, the value, and what would be right.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

DISTRIBUTION = "specdec-engine"
"""What to install: `specdec` on PyPI is another project."""


ERRNO = re.compile(r"\[Errno -?\d+\] ")
"""The system's number of an error, which is for nobody."""


def first_line(error: BaseException) -> str:
    """What another library's error says, for a message of our own."""
    first, *more = (str(error).strip() or type(error).__name__).splitlines()
    first = ERRNO.sub("", first)
    return f"{first} {more[0].strip()}" if more and first.endswith(":") else first


class SpecDecError(Exception):
    """Base of all errors raised by specdec."""


class InvalidRequest(SpecDecError, ValueError):
    """A field of a request has a value that cannot be served.

    Attributes: `field` (dotted name), `value` (as given), `expected` (what would be right).
    """

    def __init__(self, field: str, value: object, expected: str) -> None:
        self.field, self.value, self.expected = field, value, expected
        super().__init__(field, value, expected)

    def __str__(self) -> str:
        shown = repr(self.value)
        shown = shown if len(shown) <= 80 else shown[:77] + "..."
        return f"{self.field} is {shown}; expected {self.expected}"


class PromptTooLong(InvalidRequest):
    """The prompt does not fit the context; `value` says how long it is, None where only a server knows.

    Clients tell it by its words, which are Anthropic's; the engine's `expected` has OpenAI's too.
    """

    def __str__(self) -> str:
        length = f": {self.value}" if self.value else ""
        return f"{self.field} is too long{length}; expected {self.expected}"


class LoadError(SpecDecError):
    """A model could not be loaded."""


class CheckpointNotFound(LoadError):
    """The folder does not exist, or the hub id cannot be reached."""


class CheckpointCorrupt(LoadError):
    """Files of the checkpoint are missing or damaged."""


class TokenizerMismatch(LoadError):
    """Target and draft map the same id to different tokens."""


class UnsupportedModel(LoadError):
    """The checkpoint is not a decoder-only causal language model that specdec can run, in a form that it can read."""


class DeviceUnavailable(LoadError):
    """The device asked for is not on this machine."""


class NotEnoughMemory(LoadError):
    """The device cannot hold the model and its slots; the message says what would fit."""


class MissingExtra(LoadError, ImportError):
    """What was asked for comes with an extra that is not installed; the message is the command that adds it."""


@contextmanager
def extra(name: str, what: str) -> Iterator[None]:
    """Around the imports of what comes with an extra."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("specdec"):  # ours are all there, whichever extra is
            raise
        raise MissingExtra(f"{what} needs {error.name}: pip install '{DISTRIBUTION}[{name}]'") from None


class TrainingFailed(SpecDecError):
    """A training diverged (its loss is NaN, infinite or grows), or its disk is full. The best drafter so far is
    kept."""


class EngineError(SpecDecError):
    """An engine could not serve a request that is valid in itself."""


class EngineBusy(EngineError):
    """The queue is full."""


class DeadlineExceeded(EngineError):
    """The answer was not finished within the request's `timeout`. The engine goes on."""


class GrammarFailed(EngineError):
    """No token continues the answer as its grammar says, or finding one takes too long. The engine goes on."""


class InvalidLogits(EngineError):
    """The model's logits are NaN or infinite: they name no token. The engine goes on."""


class OutOfMemory(EngineError):
    """The device had no memory left for this request. The engine goes on."""


class EngineClosed(EngineError):
    """The engine takes no requests (`Engine.down` says why), or was closed while it served this one."""


class EngineFailed(EngineError):
    """The engine's worker died; the original error is `__cause__`."""
