# mypy: disable-error-code="arg-type,dict-item"
# Wrong types are what this file is about.
"""Values refuse what is wrong by name, copy what they are given, and cross process boundaries."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from typing import Any

import pytest

from specdec import errors
from specdec.errors import EngineError, InvalidRequest, LoadError, SpecDecError
from specdec.types import (
    MAX_SEED,
    DrafterStats,
    Message,
    Request,
    Round,
    SamplingParams,
    SpecStats,
    Speculation,
    ToolCall,
)

BAD_NUMBERS = [math.nan, math.inf, -math.inf, "1", True, None, 10**400]


@pytest.mark.parametrize(
    ("field", "wrong", "right"),
    [
        ("temperature", [-0.1, 100.1], [0, 0.7, 100]),
        ("top_k", [-1, 1.5], [0, 40]),
        ("top_p", [0, 0.0, 1.1], [1e-9, 0.5, 1]),
        ("min_p", [-0.1, 1.1], [0, 0.5, 1]),
        ("repetition_penalty", [0, -1, 100.5], [0.5, 1, 1.2]),
        ("presence_penalty", [-2.1, 2.1], [-2, 0, 2]),
        ("frequency_penalty", [-2.1, 2.1], [-2, 0, 2]),
        ("max_tokens", [0, -1, 2.5], [1, 10**6]),
        ("min_tokens", [-1, 1.5], [0, 3]),
        ("seed", [-1, MAX_SEED + 1, 0.5], [0, MAX_SEED]),
        ("logprobs", [-1, 21, 1.5], [0, 20]),
    ],
)
def test_ranges(field: str, wrong: list[Any], right: list[Any]) -> None:
    optional = SamplingParams().__getattribute__(field) is None
    top_k_is_open = [10**400] if field in ("top_k", "max_tokens", "min_tokens") else []
    for value in [*wrong, *BAD_NUMBERS]:
        if (value is None and optional) or value in top_k_is_open:
            continue
        with pytest.raises(InvalidRequest) as refused:
            SamplingParams(**{field: value})
        assert refused.value.field == field
        assert str(refused.value).startswith(f"{field} is ")
        assert "\n" not in str(refused.value)
    for value in right:
        assert getattr(SamplingParams(**{field: value}), field) == value


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: SamplingParams(logit_bias={-1: 0.0}), "logit_bias"),
        (lambda: SamplingParams(logit_bias={"5": 0.0}), "logit_bias"),
        (lambda: SamplingParams(logit_bias={5: 101}), "logit_bias[5]"),
        (lambda: SamplingParams(logit_bias={5: math.nan}), "logit_bias[5]"),
        (lambda: SamplingParams(logit_bias=7), "logit_bias"),
        (lambda: SamplingParams(stop=("",)), "stop"),
        (lambda: SamplingParams(stop=(5,)), "stop"),
        (lambda: SamplingParams(stop=5), "stop"),
        (lambda: SamplingParams(stop_token_ids=(-1,)), "stop_token_ids"),
        (lambda: SamplingParams(stop_token_ids=3), "stop_token_ids"),
        (lambda: SamplingParams(max_tokens=3, min_tokens=4), "min_tokens"),
        (lambda: Request(""), "prompt"),
        (lambda: Request(()), "prompt"),
        (lambda: Request.of([]), "prompt"),
        (lambda: Request.of(5), "prompt"),
        (lambda: Request.of(b"bytes"), "prompt"),
        (lambda: Request.of({"role": "user", "content": "x"}), "prompt"),
        (lambda: Request.of([1, "two"]), "messages"),
        (lambda: Request.of([True, False]), "messages"),
        (lambda: Request("x", speculative="always"), "speculative"),
        (lambda: Request("x", speculative=17), "speculative"),
        (lambda: Request("x", speculative=-1), "speculative"),
        (lambda: Request("x", speculative=True), "speculative"),
        (lambda: Request("x", speculative=None), "speculative"),
        (lambda: Request("x", prediction=5), "prediction"),
        (lambda: Request("x", tools=("f",)), "tools[0]"),
        (lambda: Request("x", tools=5), "tools"),
        (lambda: Request("x", template=5), "template"),
        (lambda: Request("x", template={"when": math.nan}), "template"),
        (lambda: Request("x", template={"when": object()}), "template"),
        (lambda: Request("x", template={"chat_template": "{{ 1 }}"}), "template"),
        (lambda: Request.of("x", temprature=1), "options"),
        (lambda: Request.of(Request("x"), temperature=1), "options"),
        (lambda: Message("boss", "x"), "messages.role"),
        (lambda: Message("user"), "messages.content"),
        (lambda: Message("assistant"), "messages.content"),
        (lambda: Message("user", ["x"]), "messages.content"),
        (lambda: Message.of({"content": "x"}), "messages"),
        (lambda: Message.of({"role": "user", "content": "x", "images": ["y"]}), "messages"),
        (lambda: Message.of({"role": "assistant", "tool_calls": ["f"]}), "messages.tool_calls"),
        (lambda: Message.of({"role": "assistant", "tool_calls": [{"id": "1"}]}), "messages.tool_calls"),
    ],
)
def test_refused_by_name(make: Callable[[], object], field: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        make()
    assert refused.value.field == field


def test_refusals_are_short() -> None:
    with pytest.raises(InvalidRequest) as refused:
        SamplingParams(stop=["x" * 9999, ""])
    assert str(refused.value) == "stop is ''; expected texts that are not empty"
    with pytest.raises(InvalidRequest) as refused:
        Message("x" * 9999, "y")
    assert len(str(refused.value)) < 160


def test_none_means_empty() -> None:
    params = SamplingParams(stop=None, stop_token_ids=None, logit_bias=None)
    assert (params.stop, params.stop_token_ids, params.logit_bias) == ((), (), {})


def test_values_do_not_share_what_they_were_given() -> None:
    bias, stops = {1: 1.0}, ["a"]
    params = SamplingParams(logit_bias=bias, stop=stops)
    bias[2] = 2.0
    stops.append("b")
    assert (params.logit_bias, params.stop) == ({1: 1.0}, ("a",))
    variables = {"tags": ["a"]}
    request = Request("x", template=variables)
    variables["tags"].append("b")
    assert pickle.loads(pickle.dumps(request)).template == {"tags": ["a"]}


def test_one_stop_string_is_not_its_letters() -> None:
    assert SamplingParams(stop="end").stop == ("end",)


def test_defaults_of_the_checkpoint_fill_only_what_is_open() -> None:
    params = SamplingParams(top_k=0, seed=3).with_defaults({"temperature": 0.6, "top_k": 20})
    assert (params.temperature, params.top_k, params.top_p, params.min_p) == (0.6, 0, 1.0, 0.0)
    assert (params.repetition_penalty, params.seed, params.max_tokens) == (1.0, 3, None)
    with pytest.raises(InvalidRequest, match=r"top_p is 7; expected a number above 0"):  # what nobody checked yet
        SamplingParams().with_defaults({"top_p": 7})


def test_request_of_every_form() -> None:
    chat = ({"role": "system", "content": "s"}, Message("user", "u"))
    assert Request.of("text").prompt == "text"
    assert Request.of(iter([1, 2])).prompt == (1, 2)
    assert Request.of(chat).prompt == (Message("system", "s"), Message("user", "u"))
    assert Request([Message("user", "u")]).prompt == (Message("user", "u"),)
    tool = {"type": "function", "function": {"name": "add"}}
    request = Request.of(chat, temperature=0, speculative=3, tools=[tool])
    assert (request.sampling.temperature, request.speculative, len(request.tools)) == (0, 3, 1)
    assert Request.of(request) is request


def test_options_beside_sampling_are_not_lost() -> None:
    sampling = SamplingParams(temperature=0.5, seed=1)
    request = Request.of("x", sampling=sampling, temperature=0.9)
    assert (request.sampling.temperature, request.sampling.seed) == (0.9, 1)


def test_requests_have_ids_of_their_own() -> None:
    assert Request("x").id != Request("x").id


def test_tool_calls_from_the_wire() -> None:
    nested = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    flat = {"id": "2", "name": "g", "arguments": {"b": 2}}
    message = Message.of({"role": "assistant", "content": None, "tool_calls": [nested, flat], "refusal": None})
    assert message.tool_calls == (ToolCall("1", "f", '{"a": 1}'), ToolCall("2", "g", '{"b": 2}'))
    assert Message.of(message) is message


def test_values_are_frozen_and_pickle() -> None:
    request = Request.of([Message("user", "x")], logit_bias={1: 2.0}, stop="s")
    assert pickle.loads(pickle.dumps(request)) == request
    with pytest.raises(FrozenInstanceError):
        request.prompt = "y"  # type: ignore[misc]


def _rounds(drafter: str, *rounds: tuple[int, int]) -> DrafterStats:
    """Of rounds of (drafted, accepted) tokens."""
    each = [DrafterStats.of(Round(drafter, (0,) * k, n, 0.0, 0.0)) for k, n in rounds]
    return sum(each, DrafterStats(drafter))


def test_statistics() -> None:
    stats = SpecStats(10, (DrafterStats("model", (8, 8), (6, 3)), DrafterStats("lookup", (2,), (2,))))
    assert (stats.drafted, stats.accepted) == (18, 11)
    assert stats.acceptance_rate == pytest.approx(11 / 18)
    assert stats.acceptance_length == pytest.approx(2.1)
    assert (SpecStats(0).acceptance_rate, SpecStats(0).acceptance_length) == (None, None)


def test_acceptance_per_position_is_conditional() -> None:
    """A draft behind a rejected one was never looked at, so it says nothing about its position."""
    model = _rounds("model", (3, 0), (3, 1), (3, 3), (1, 1))
    assert (model.drafted, model.accepted, model.tested) == ((4, 3, 3), (3, 1, 1), (4, 2, 1))
    assert SpecStats(4, (model,)).acceptance_per_position == pytest.approx((3 / 4, 1 / 2, 1.0))


def test_positions_that_were_never_reached_have_no_acceptance() -> None:
    assert SpecStats(2, (_rounds("model", (3, 0), (2, 1)),)).acceptance_per_position == (0.5, 0.0)
    assert SpecStats(1, (DrafterStats("server", (9,), (5,)),)).acceptance_per_position == (), "sums say nothing"


def test_statistics_are_pooled_over_drafters_and_answers() -> None:
    first = SpecStats(5, (_rounds("lookup", (1, 1)), _rounds("model", (2, 2), (2, 1), (1, 0), (1, 1))))
    second = SpecStats(2, (_rounds("model", (3, 3)),), Speculation(why="requested"))
    assert first.acceptance_per_position == pytest.approx((4 / 5, 1 / 2))
    both = SpecStats.of_all([first, second])
    assert (both.rounds, both.drafted, both.accepted, both.off_reason) == (7, 10, 8, None)
    assert [d.drafter for d in both.drafters] == ["lookup", "model"]
    assert both.acceptance_per_position == pytest.approx((5 / 6, 2 / 3, 1.0))
    assert both.acceptance_length == pytest.approx(1 + 8 / 7)
    assert SpecStats.of_all([second]) == second


def test_figures_that_nobody_knows_are_none() -> None:
    silent = SpecStats(0, (), Speculation(why="unknown"))
    assert set(silent.figures().values()) == {None}
    assert SpecStats.of_all([silent, silent]).unknown
    sums = SpecStats(0, (DrafterStats("server", (9,), (6,)),)).figures()
    assert (sums["rounds"], sums["accepted"], sums["acceptance_length"]) == (None, 6, None)
    off = SpecStats(3, (), Speculation(why="requested")).figures()
    assert (off["rounds"], off["drafted"], off["acceptance_rate"], off["acceptance_length"]) == (3, 0, None, 1.0)


def test_every_error_is_ours_and_drawn() -> None:
    kinds = [v for v in vars(errors).values() if isinstance(v, type) and issubclass(v, Exception)]
    assert len(kinds) == 20
    for kind in kinds:
        assert issubclass(kind, SpecDecError)
        assert kind.__name__ in (errors.__doc__ or "")
    assert issubclass(InvalidRequest, ValueError)
    assert {k.__name__ for k in kinds if issubclass(k, LoadError | EngineError)} >= {
        "EngineBusy",
        "TokenizerMismatch",
    }


def test_refusals_pickle() -> None:
    error = pickle.loads(pickle.dumps(InvalidRequest("seed", -1, "more")))
    assert (error.field, error.value, str(error)) == ("seed", -1, "seed is -1; expected more")
