"""Speculative decoding that never changes what the target model says.

    import specdec

    with specdec.load() as engine:
        chat = [{"role": "user", "content": "Tell me a story about a fox."}]
        print(engine.generate(chat).text)

Names are looked up on first use, so that importing the package costs next to nothing and never imports torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from specdec.engine import AsyncEventStream as AsyncEventStream
    from specdec.engine import Engine as Engine
    from specdec.engine import EventStream as EventStream
    from specdec.errors import CheckpointCorrupt as CheckpointCorrupt
    from specdec.errors import CheckpointNotFound as CheckpointNotFound
    from specdec.errors import DeadlineExceeded as DeadlineExceeded
    from specdec.errors import DeviceUnavailable as DeviceUnavailable
    from specdec.errors import EngineBusy as EngineBusy
    from specdec.errors import EngineClosed as EngineClosed
    from specdec.errors import EngineError as EngineError
    from specdec.errors import EngineFailed as EngineFailed
    from specdec.errors import GrammarFailed as GrammarFailed
    from specdec.errors import InvalidLogits as InvalidLogits
    from specdec.errors import InvalidRequest as InvalidRequest
    from specdec.errors import LoadError as LoadError
    from specdec.errors import NotEnoughMemory as NotEnoughMemory
    from specdec.errors import OutOfMemory as OutOfMemory
    from specdec.errors import PromptTooLong as PromptTooLong
    from specdec.errors import SpecDecError as SpecDecError
    from specdec.errors import TokenizerMismatch as TokenizerMismatch
    from specdec.errors import TrainingFailed as TrainingFailed
    from specdec.errors import UnsupportedModel as UnsupportedModel
    from specdec.loading import load as load
    from specdec.loading import shared as shared
    from specdec.types import Answer as Answer
    from specdec.types import Completion as Completion
    from specdec.types import Ending as Ending
    from specdec.types import EngineInfo as EngineInfo
    from specdec.types import EngineStats as EngineStats
    from specdec.types import GenerationEvent as GenerationEvent
    from specdec.types import Grammar as Grammar
    from specdec.types import LoadOptions as LoadOptions
    from specdec.types import Message as Message
    from specdec.types import Request as Request
    from specdec.types import SamplingParams as SamplingParams
    from specdec.types import SpecStats as SpecStats
    from specdec.types import Speculation as Speculation
    from specdec.types import Token as Token
    from specdec.types import ToolCall as ToolCall

__version__ = "0.2.0"

_HOMES = {
    "engine": "AsyncEventStream Engine EventStream",
    "errors": (
        "CheckpointCorrupt CheckpointNotFound DeadlineExceeded DeviceUnavailable EngineBusy EngineClosed EngineError "
        "EngineFailed GrammarFailed InvalidLogits InvalidRequest LoadError NotEnoughMemory OutOfMemory PromptTooLong "
        "SpecDecError TokenizerMismatch TrainingFailed UnsupportedModel"
    ),
    "loading": "load shared",
    "types": (
        "Answer Completion Ending EngineInfo EngineStats GenerationEvent Grammar LoadOptions Message Request "
        "SamplingParams SpecStats Speculation Token ToolCall"
    ),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'specdec' has no attribute {name!r}")
    value = getattr(import_module(f"specdec.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
