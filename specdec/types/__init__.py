"""The plain values that cross every boundary of specdec.

All are immutable, picklable and free of torch. A `Request` goes in, `GenerationEvent`s come out, an `Answer` adds them
up to a `Completion`. Invalid values are refused here, by field name, before any work is done; what only the engine can
know (vocabulary, context) it checks on admission.
"""

from __future__ import annotations

from specdec.types.chat import Message as Message
from specdec.types.chat import Role as Role
from specdec.types.chat import ToolCall as ToolCall
from specdec.types.events import Answer as Answer
from specdec.types.events import Completion as Completion
from specdec.types.events import ContentDelta as ContentDelta
from specdec.types.events import Delta as Delta
from specdec.types.events import Ending as Ending
from specdec.types.events import FinishReason as FinishReason
from specdec.types.events import GenerationEvent as GenerationEvent
from specdec.types.events import ReasoningDelta as ReasoningDelta
from specdec.types.events import Timing as Timing
from specdec.types.events import Token as Token
from specdec.types.events import TokenLogprob as TokenLogprob
from specdec.types.events import ToolCallDelta as ToolCallDelta
from specdec.types.events import Usage as Usage
from specdec.types.events import merged as merged
from specdec.types.events import token_text as token_text
from specdec.types.grammar import MAX_GRAMMAR as MAX_GRAMMAR
from specdec.types.grammar import MAX_GRAMMAR_DEPTH as MAX_GRAMMAR_DEPTH
from specdec.types.grammar import Grammar as Grammar
from specdec.types.grammar import GrammarKind as GrammarKind
from specdec.types.info import EngineInfo as EngineInfo
from specdec.types.info import EngineStats as EngineStats
from specdec.types.info import PublishedDraft as PublishedDraft
from specdec.types.info import Queued as Queued
from specdec.types.load import AcceptRule as AcceptRule
from specdec.types.load import LoadKeywords as LoadKeywords
from specdec.types.load import LoadOptions as LoadOptions
from specdec.types.request import EFFORTS as EFFORTS
from specdec.types.request import MAX_LOGPROBS as MAX_LOGPROBS
from specdec.types.request import MAX_SEED as MAX_SEED
from specdec.types.request import MAX_SPECULATIVE_TOKENS as MAX_SPECULATIVE_TOKENS
from specdec.types.request import Effort as Effort
from specdec.types.request import Prompt as Prompt
from specdec.types.request import Reasoning as Reasoning
from specdec.types.request import Request as Request
from specdec.types.request import RequestOptions as RequestOptions
from specdec.types.request import SamplingParams as SamplingParams
from specdec.types.request import Speculative as Speculative
from specdec.types.speculation import Decision as Decision
from specdec.types.speculation import DrafterStats as DrafterStats
from specdec.types.speculation import Origin as Origin
from specdec.types.speculation import Round as Round
from specdec.types.speculation import SpecStats as SpecStats
from specdec.types.speculation import Speculation as Speculation
from specdec.types.speculation import Why as Why
