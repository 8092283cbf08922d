"""What commands share: the options of LoadOptions and SamplingParams, listed here alone, and errors that are a line."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import is_dataclass, replace
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer
from typer.models import OptionInfo

from specdec.cli.screen import reported
from specdec.errors import InvalidRequest, extra
from specdec.types import LoadOptions, SamplingParams, Speculative
from specdec.types.load import MEANINGS

FORGETFUL = LoadOptions(slots=1, prefix_cache_bytes=0, remember=0)
"""Where answers are compared, none may profit from another."""
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")]

LOADING = {name: meaning.help for name, meaning in MEANINGS.items() if meaning.help}
"""Fields of LoadOptions that are options, and their help."""
SAMPLING = {
    "temperature": "0 = greedy.",
    "top_k": "0 = off.",
    "top_p": "Above 0, up to 1.",
    "min_p": "0 to 1.",
    "repetition_penalty": "Over prompt and output, 1 = off.",
    "presence_penalty": "-2 to 2.",
    "frequency_penalty": "-2 to 2.",
    "logit_bias": "ID=BIAS, -100 to 100. Repeatable.",
    "max_tokens": "Longest answer.",
    "min_tokens": "Shortest answer.",
    "stop": "Text that ends the answer. Repeatable.",
    "stop_token_ids": "Token that ends the answer. Repeatable.",
    "ignore_eos": "Go on after the end token.",
    "seed": "Same seed, same text.",
    "logprobs": "Tokens' probabilities, and those of the n most likely; generate prints them with --json.",
}
"""The same of SamplingParams."""


class Given(dict[str, Any]):
    """Those of all these options that were given, for a command whose defaults come from elsewhere."""


NOTHING = Given()

_HINTS = get_type_hints(LoadOptions) | get_type_hints(SamplingParams)
_FLAGS = {name: f"--{name.replace('_', '-')}" for name, hint in _HINTS.items() if hint is bool}
_FLAGS |= {"stop_token_ids": "--stop-token-id"}
_REPEATED = {Mapping[int, float]: list[str], tuple[str, ...]: list[str], tuple[int, ...]: list[int]}
_PANELS = {"Models": LOADING, "Sampling (default: the checkpoint's own generation config)": SAMPLING}
_ANNOTATIONS = {
    name: Annotated[
        _REPEATED.get(_HINTS[name], _HINTS[name]),
        typer.Option(*filter(None, [_FLAGS.get(name)]), help=line, rich_help_panel=panel),
    ]
    for panel, group in _PANELS.items()
    for name, line in group.items()
}


_GROUPS = {LoadOptions: LOADING, SamplingParams: SAMPLING, Given: LOADING | SAMPLING}


def _group(kind: Any) -> Mapping[str, Any]:
    """The options that a parameter of this type stands for: all fields of a dataclass whose annotations are options."""
    if kind in _GROUPS:
        return {name: _ANNOTATIONS[name] for name in _GROUPS[kind]}
    return get_type_hints(kind, include_extras=True) if is_dataclass(kind) else {}


def command(function: Callable[..., None]) -> Callable[..., None]:
    """A command whose errors are a line. For a parameter of type LoadOptions, SamplingParams, Given, or a dataclass of
    its own options, it has the options of that group, with the parameter's own default as theirs."""
    parameters: list[inspect.Parameter] = []
    groups: dict[str, Any] = {}
    for parameter in inspect.signature(function, eval_str=True).parameters.values():
        option = parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        if not (group := _group(parameter.annotation)):
            parameters.append(option)
            continue
        groups[parameter.name] = parameter.default
        for name, annotation in group.items():
            default = getattr(parameter.default, name, None)
            default = None if default in ((), {}) else default
            parameters.append(option.replace(name=name, default=default, annotation=annotation))

    @wraps(function)
    def run(**options: Any) -> None:
        # what serves and chats names its own extra
        with reported(), as_typed(parameters), extra("local", f"specdec {function.__name__}"):
            for group, default in groups.items():
                given = {name: value for name in _group(type(default)) if (value := options.pop(name)) is not None}
                if "logit_bias" in given:
                    given["logit_bias"] = logit_bias_of(given["logit_bias"])
                options[group] = Given(given) if isinstance(default, Given) else replace(default, **given)
            function(**options)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return run


@contextmanager
def as_typed(parameters: Sequence[inspect.Parameter]) -> Iterator[None]:
    """What is wrong with a field is said of the option that gives it."""
    try:
        yield
    except InvalidRequest as error:
        for parameter in parameters:
            (about,) = getattr(parameter.annotation, "__metadata__", (None,))
            if parameter.name == error.field and isinstance(about, OptionInfo):
                named = about.default  # where it stands in an annotation, the first of its flags
                flag = named if isinstance(named, str) else f"--{error.field.replace('_', '-')}"
                raise InvalidRequest(flag, error.value, error.expected) from None
        raise


def address(url: str | None) -> str | None:
    """Checks an option that names a server: anything else would be looked up on the hub."""
    if url is not None and not url.startswith(("http://", "https://")):
        raise typer.BadParameter(f"{url!r}; expected an address such as http://localhost:8000/v1")
    return url


def text_of(option: str, path: Path) -> str:
    """What a file holds that an option names."""
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise InvalidRequest(option, str(path), f"a file of text in UTF-8 ({why})") from None


def speculative_of(value: str) -> Speculative:
    """`auto`, `off` or a number, from the command line; Request checks the range."""
    if value in ("auto", "off"):
        return value  # type: ignore[return-value]
    try:
        return int(value)
    except ValueError:
        raise InvalidRequest("speculative", value, "auto, off or a whole number") from None


def logit_bias_of(pairs: list[str]) -> dict[int, float]:
    """{token id: bias} from texts like 42=-5."""
    found = {}
    for pair in pairs:
        token, _, bias = pair.partition("=")
        try:
            found[int(token)] = float(bias)
        except ValueError:
            raise InvalidRequest("logit_bias", pair, "ID=BIAS, such as 42=-5") from None
    return found
