"""What speculation did for one answer, from whichever source a server has. What no source tells is not guessed."""

from __future__ import annotations

from specdec.remote.schemas import StreamedCompletionDetails, StreamedMetrics, StreamedSpeculation, StreamedTimings
from specdec.remote.server import ServerInfo
from specdec.types import DrafterStats, SpecStats, Speculation

_DRAFTER = "server"


def spec_stats(
    server: ServerInfo,
    metrics: StreamedMetrics | None,
    timings: StreamedTimings | None,
    details: StreamedCompletionDetails | None,
) -> SpecStats:
    """By vLLM's metrics and ours, llama.cpp's timings, or the counts in OpenAI's usage."""
    if metrics and (summary := metrics.speculative_decoding):
        # of why it was off only the server's words are known
        off = Speculation(why="unavailable", detail=summary.off_reason) if summary.off_reason else Speculation()
        drafters = _of_histogram(summary) if summary.drafters is None else summary.drafters
        return SpecStats(summary.num_spec_steps or 0, drafters, off)
    if timings and timings.draft_n:
        accepted = timings.draft_n_accepted or 0
        return _of_totals(timings.draft_n, accepted, timings.predicted_n or 0)
    if details and details.accepted_prediction_tokens is not None:
        accepted = details.accepted_prediction_tokens
        return _of_totals(accepted + (details.rejected_prediction_tokens or 0), accepted, 0)
    return SpecStats(0, (), why_nothing(server))


def why_nothing(server: ServerInfo) -> Speculation:
    """Why there are no figures."""
    if server.speculates is False:
        return Speculation(why="unavailable", detail=f"the server at {server.base} does not speculate")
    advice = f"; {server.dialect.advice}" if server.dialect.advice else ""
    return Speculation(why="unknown", detail=f"the server at {server.base} does not say what it drafted{advice}")


def _of_totals(drafted: int, accepted: int, tokens: int) -> SpecStats:
    """Each round adds what it accepted and one token more, and the first token comes out of prefill."""
    rounds = max(tokens - 1 - accepted, 0)
    return SpecStats(rounds, (DrafterStats(_DRAFTER, (drafted,), (accepted,)),))  # at which positions, nobody says


def _of_histogram(summary: StreamedSpeculation) -> tuple[DrafterStats, ...]:
    """Of what was drafted only the sum is known: what was accepted was drafted, and the rest is laid on the first
    positions, which no round leaves out for a later one."""
    if not summary.num_draft_tokens:
        return ()
    rounds, histogram = summary.num_spec_steps or 0, summary.acceptance_histogram
    accepted = [sum(histogram[i + 1 :]) for i in range(len(histogram) - 1)]
    rest, drafted = summary.num_draft_tokens - sum(accepted), []
    for count in accepted:
        more = min(rest, rounds - count)
        drafted.append(count + more)
        rest -= more
    # a position is tested in the rounds that accepted the one before, as far as they drafted it
    tested = map(min, drafted, (rounds, *accepted))
    return (DrafterStats(_DRAFTER, tuple(drafted), tuple(accepted), tuple(tested)),)
