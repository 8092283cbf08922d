"""Chunks in the shapes that real servers send, and what becomes of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from specdec.remote.dialects import LLAMA_CPP, UNKNOWN, VLLM
from specdec.remote.metrics import Speculated
from specdec.remote.responses import ResponseReader
from specdec.remote.schemas import Chunk, StreamedCompletionDetails, StreamedMetrics, StreamedTimings
from specdec.remote.server import ServerInfo
from specdec.remote.sse import Events
from specdec.remote.stats import spec_stats
from specdec.types import ContentDelta, DrafterStats, GenerationEvent, ReasoningDelta, Request, ToolCallDelta, Usage
from tests.fakes import end_of

SERVER = ServerInfo("http://h/v1", "story", VLLM, speculates=True)


def _events(*chunks: dict[str, Any]) -> list[GenerationEvent]:
    reader = ResponseReader(Request.of("x"), SERVER, 5)
    found = [reader.event(Chunk.model_validate_json(json.dumps(c))) for c in chunks]
    return [*filter(None, found), reader.last()]


def _chunk(delta: dict[str, Any], ids: list[int] | None = None, **choice: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "token_ids": ids, "finish_reason": None, **choice}]}


def test_what_one_chunk_says_of_a_call_is_one_delta() -> None:
    parts = [{"index": 0, "id": "c1", "function": {"name": "add"}}, {"index": 0, "function": {"arguments": "{}"}}]
    event, _ = _events(_chunk({"tool_calls": parts}, [1, 2]))
    assert event.deltas == (ToolCallDelta(0, "c1", "add", "{}"),)


def test_several_tokens_a_chunk() -> None:
    event, last = _events(_chunk({"role": "assistant", "content": ""}), _chunk({"content": " a b"}, [4, 5]))
    assert event.text == " a b"
    assert [(t.id, t.text, t.origin) for t in event.tokens] == [(4, "", "unknown"), (5, " a b", "unknown")]
    assert event.deltas == (ContentDelta(" a b"),)
    end = end_of([last])
    assert end.usage.completion_tokens == 2
    assert end.timing.tokens_per_second(2) == 0, "what came as a whole has no speed"


def test_tokens_without_text_are_counted() -> None:
    held, event, last = _events(_chunk({}, [7]), _chunk({"content": "ab"}, [8]))
    assert (held.text, len(held.tokens), held.deltas) == ("", 1, ())
    assert event.text == "ab"
    assert end_of([last]).usage.completion_tokens == 2


def test_logprobs_tell_each_tokens_text() -> None:
    entries = [
        {
            "token": " a",
            "logprob": -0.5,
            "top_logprobs": [{"token": " a", "logprob": -0.5}, {"token": "z", "logprob": -2}],
        }
    ]
    entries.append({"token": " b", "logprob": -0.1, "top_logprobs": []})
    event, _ = _events(_chunk({"content": " a b"}, [4, 5], logprobs={"content": entries}))
    assert [(t.text, t.logprob) for t in event.tokens] == [(" a", -0.5), (" b", -0.1)]
    assert [(o.id, o.text) for o in event.tokens[0].top_logprobs] == [(4, " a"), (-1, "z")]


def test_logprobs_tell_each_tokens_bytes() -> None:
    smile = "😊".encode()
    entries: list[dict[str, Any]] = [
        {"token": "\N{REPLACEMENT CHARACTER}", "logprob": -1, "bytes": list(part), "top_logprobs": []}
        for part in (smile[:1], smile[1:])
    ]
    entries[0]["top_logprobs"] = [
        {"token": "?", "logprob": -2, "bytes": [0xF0, 0x9F]},
        {"token": "é", "logprob": -3},
    ]
    event, _ = _events(_chunk({"content": "😊"}, [4, 5], logprobs={"content": entries}))
    first, second = event.tokens
    assert [(t.text, t.bytes, t.own.text) for t in event.tokens] == [
        ("", smile[:1], r"\xf0"),
        ("😊", smile[1:], r"\x9f\x98\x8a"),
    ]
    assert [o.bytes for o in first.top_logprobs] == [b"\xf0\x9f", "é".encode()]
    assert second.own.bytes == second.bytes


def test_logprobs_beside_raw_text() -> None:
    logprobs = {
        "tokens": [" a"],
        "token_logprobs": [-0.5],
        "top_logprobs": [{" a": -0.5, "z": -2.0}],
        "text_offset": [0],
    }
    event, _ = _events({"choices": [{"text": " a", "token_ids": [4], "logprobs": logprobs}]})
    assert event.tokens[0].logprob == -0.5
    assert len(event.tokens[0].top_logprobs) == 2


def test_reasoning_and_calls() -> None:
    first = {"index": 0, "id": "c1", "type": "function", "function": {"name": "weather"}}
    more = {"index": 0, "function": {"arguments": '{"city'}}
    *events, last = _events(
        _chunk({"reasoning_content": "hm"}, [1]),
        _chunk({"reasoning": "mm"}, [2]),
        _chunk({"content": None, "tool_calls": [first]}, [3]),
        _chunk({"tool_calls": [more]}, [4, 5]),
        _chunk({}, [6], finish_reason="tool_calls", stop_reason=2),
    )
    assert [d for e in events for d in e.deltas] == [
        ReasoningDelta("hm"),
        ReasoningDelta("mm"),
        ToolCallDelta(0, "c1", "weather", ""),
        ToolCallDelta(0, arguments='{"city'),
    ]
    assert "".join(e.text for e in events) == ""
    assert sum(len(e.tokens) for e in events) == 6
    end = end_of([last])
    assert (end.reason, end.stop, end.seed) == ("stop", 2, 5)


@pytest.mark.parametrize(
    ("said", "expected"),
    [("stop", "stop"), ("length", "length"), ("abort", "cancelled"), ("content_filter", "stop")],
)
def test_finish_reasons(said: str, expected: str) -> None:
    assert end_of(_events(_chunk({"content": "x"}, [1], finish_reason=said))).reason == expected


def test_usage_counts_where_ids_are_missing() -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 4, "prompt_tokens_details": {"cached_tokens": 3}}
    usage |= {"completion_tokens_details": {"reasoning_tokens": 2}}
    last = _events(_chunk({"content": "a b c d"}), {"choices": [], "usage": usage})[-1]
    assert end_of([last]).usage == Usage(9, 4, 3, 2)


def _summary(rounds: int, drafted: int, histogram: list[int]) -> StreamedMetrics:
    accepted = sum(j * n for j, n in enumerate(histogram))
    return StreamedMetrics.model_validate(
        {
            "speculative_decoding": {
                "num_spec_steps": rounds,
                "num_draft_tokens": drafted,
                "num_accepted_draft_tokens": accepted,
                "acceptance_histogram": histogram,
            }
        }
    )


def test_acceptance_per_position_of_a_histogram() -> None:
    """Of six rounds with three drafts each, one accepted none, two accepted one, and three accepted all."""
    stats = spec_stats(SERVER, _summary(6, 18, [1, 2, 0, 3]), None, None)
    assert stats.acceptance_per_position == pytest.approx((5 / 6, 3 / 5, 1.0))


@pytest.mark.parametrize(
    ("rounds", "drafted", "histogram"),
    [(5, 20, [1, 1, 1, 1, 1]), (2, 5, [0, 1, 0, 0, 1]), (3, 3, [3, 0]), (0, 0, [0, 0, 0])],
)
def test_figures_of_vllm(rounds: int, drafted: int, histogram: list[int]) -> None:
    stats = spec_stats(SERVER, _summary(rounds, drafted, histogram), None, None)
    assert stats.rounds == rounds
    assert stats.drafted == drafted
    assert stats.accepted == sum(j * n for j, n in enumerate(histogram))
    for drafter in stats.drafters:
        assert all(a <= d <= rounds for d, a in zip(drafter.drafted, drafter.accepted, strict=True))
    assert stats.off_reason is None


def test_our_own_server_counts_by_itself() -> None:
    """Rounds that drafted less than others: a histogram cannot tell at which position a draft was missing."""
    drafters = [
        {"drafter": "lookup", "drafted": [2, 1], "accepted": [1, 0], "tested": [2, 1]},
        {"drafter": "model", "drafted": [1, 1, 1], "accepted": [1, 1, 0], "tested": [1, 1, 1]},
    ]
    metrics = _summary(3, 6, [1, 1, 1])
    assert metrics.speculative_decoding
    told = metrics.speculative_decoding.model_dump() | {"drafters": drafters}
    stats = spec_stats(SERVER, StreamedMetrics.model_validate({"speculative_decoding": told}), None, None)
    assert stats.drafters == (
        DrafterStats("lookup", (2, 1), (1, 0), (2, 1)),
        DrafterStats("model", (1, 1, 1), (1, 1, 0), (1, 1, 1)),
    )
    assert (stats.rounds, stats.drafted, stats.accepted) == (3, 6, 3)
    assert stats.acceptance_per_position == pytest.approx((2 / 3, 1 / 2, 0))
    assert stats.off_reason is None
    none = {"num_spec_steps": 3, "num_draft_tokens": 0, "num_accepted_draft_tokens": 0, "acceptance_histogram": [3]}
    told = none | {"drafters": [], "off_reason": "drafting costs more"}
    stats = spec_stats(SERVER, StreamedMetrics.model_validate({"speculative_decoding": told}), None, None)
    assert (stats.rounds, stats.off_reason) == (3, "drafting costs more")


def test_figures_of_others() -> None:
    stats = spec_stats(SERVER, None, StreamedTimings(predicted_n=10, draft_n=8, draft_n_accepted=6), None)
    assert (stats.rounds, stats.drafted, stats.accepted) == (3, 8, 6)
    assert stats.acceptance_per_position == (), "a sum says nothing about positions"
    details = StreamedCompletionDetails(accepted_prediction_tokens=3, rejected_prediction_tokens=1)
    stats = spec_stats(SERVER, None, None, details)
    assert (stats.drafted, stats.accepted) == (4, 3)


@pytest.mark.parametrize(
    ("server", "why"),
    [
        (SERVER, "does not say what it drafted; start it with --enable-per-request-metrics"),
        (ServerInfo("http://h/v1", "m", VLLM, speculates=False), "http://h/v1 does not speculate"),
        (ServerInfo("http://h/v1", "m", LLAMA_CPP), "does not say what it drafted"),
        (ServerInfo("http://h/v1", "m", UNKNOWN), "unknown: the server at http://h/v1"),
    ],
)
def test_no_figures_say_why(server: ServerInfo, why: str) -> None:
    stats = spec_stats(server, None, None, None)
    assert why in str(stats.off_reason or stats.unknown)


def test_metrics_are_summed_over_engines() -> None:
    page = "\n".join(
        f'vllm:spec_decode_num_{name}_total{{engine="{e}"}} {n}'
        for name, n in (("drafts", 2), ("draft_tokens", 8), ("accepted_tokens", "6.0e0"))
        for e in (0, 1)
    )
    now = Speculated.of(page)
    assert now == Speculated(4, 16, 12)
    assert now.since(Speculated(1, 4, 4)) == Speculated(3, 12, 8)
    assert now.acceptance_length == 4
    assert Speculated.of("up 1") is None


STREAM = b': ping\n\ndata: {"a":1}\r\n\r\nevent: x\ndata:two\ndata: lines\n\ndata: [DONE]\n\n'


@pytest.mark.parametrize("width", [1, 2, 3, 7, 1000])
def test_events_out_of_bytes_cut_anywhere(width: int) -> None:
    events = Events()
    found = [d for i in range(0, len(STREAM), width) for d in events.feed(STREAM[i : i + width])]
    assert found == [b'{"a":1}', b"two\nlines", b"[DONE]"]
