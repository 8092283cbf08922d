"""The options that several commands share, and the values they come to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

import typer

from specdec.engine import AcceptRule
from specdec.errors import InvalidRequest
from specdec.types import Speculative

_MODELS = "Models"
_SAMPLING = "Sampling (default: the checkpoint's own generation config)"

Target = Annotated[str, typer.Option(help="Target model: bundled, a folder or a hub id.", rich_help_panel=_MODELS)]
Draft = Annotated[
    str, typer.Option(help="What drafts: auto, none, lookup, a folder or a hub id.", rich_help_panel=_MODELS)
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...", rich_help_panel=_MODELS)]
DType = Annotated[str, typer.Option(help="auto, float32, bfloat16 or float16.", rich_help_panel=_MODELS)]
Context = Annotated[int | None, typer.Option(help="Tokens that prompt and answer may fill.", rich_help_panel=_MODELS)]
Rule = Annotated[
    Literal["coupled", "rejection"],
    typer.Option("--accept-rule", help="Accept rule.", rich_help_panel=_MODELS),
]
RemoteCode = Annotated[
    bool, typer.Option("--trust-remote-code", help="Run code from the checkpoint.", rich_help_panel=_MODELS)
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")]

Temperature = Annotated[float | None, typer.Option(help="0 = greedy.", rich_help_panel=_SAMPLING)]
TopK = Annotated[int | None, typer.Option(help="0 = off.", rich_help_panel=_SAMPLING)]
TopP = Annotated[float | None, typer.Option(help="Above 0, up to 1.", rich_help_panel=_SAMPLING)]
MinP = Annotated[float | None, typer.Option(help="0 to 1.", rich_help_panel=_SAMPLING)]
RepetitionPenalty = Annotated[
    float | None, typer.Option(help="Over prompt and output, 1 = off.", rich_help_panel=_SAMPLING)
]
PresencePenalty = Annotated[float, typer.Option(help="-2 to 2.", rich_help_panel=_SAMPLING)]
FrequencyPenalty = Annotated[float, typer.Option(help="-2 to 2.", rich_help_panel=_SAMPLING)]
LogitBias = Annotated[
    list[str] | None, typer.Option(help="ID=BIAS, -100 to 100. Repeatable.", rich_help_panel=_SAMPLING)
]
MaxTokens = Annotated[int | None, typer.Option(help="Longest answer.", rich_help_panel=_SAMPLING)]
MinTokens = Annotated[int, typer.Option(help="Shortest answer.", rich_help_panel=_SAMPLING)]
Stop = Annotated[
    list[str] | None, typer.Option(help="Text that ends the answer. Repeatable.", rich_help_panel=_SAMPLING)
]
StopTokenId = Annotated[
    list[int] | None, typer.Option(help="Token that ends the answer. Repeatable.", rich_help_panel=_SAMPLING)
]
IgnoreEos = Annotated[bool, typer.Option("--ignore-eos", help="Go on after the end token.", rich_help_panel=_SAMPLING)]
Seed = Annotated[int | None, typer.Option(help="Same seed, same text.", rich_help_panel=_SAMPLING)]
Logprobs = Annotated[
    int | None, typer.Option(help="With --json: logprobs, and the n most likely.", rich_help_panel=_SAMPLING)
]


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """What `specdec.load` is called with."""

    target: str = "bundled"
    draft: str = "auto"
    device: str = "auto"
    dtype: str = "auto"
    context: int | None = None
    accept_rule: AcceptRule = "coupled"
    trust_remote_code: bool = False
    slots: int = 1
    prefix_cache_bytes: int | None = None
    remember: int = 32_768

    @property
    def forgetful(self) -> EngineOptions:
        """Where answers are compared, none may profit from another."""
        return replace(self, prefix_cache_bytes=0, remember=0)


def speculative_of(value: str) -> Speculative:
    """`auto`, `off` or a number, from the command line; Request checks the range."""
    return value if value in ("auto", "off") else _whole("speculative", value)  # type: ignore[return-value]


def logit_bias_of(pairs: list[str] | None) -> dict[int, float]:
    """{token id: bias} from texts like 42=-5."""
    found = {}
    for pair in pairs or ():
        token, _, bias = pair.partition("=")
        try:
            found[int(token)] = float(bias)
        except ValueError:
            raise InvalidRequest("logit_bias", pair, "ID=BIAS, such as 42=-5") from None
    return found


def _whole(name: str, value: str) -> int:
    try:
        return int(value)
    except ValueError:
        raise InvalidRequest(name, value, "auto, off or a whole number") from None
