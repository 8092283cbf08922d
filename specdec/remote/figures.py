"""What speculation did for one answer, from whichever source a server has. What no source tells is not guessed."""

from __future__ import annotations

from specdec.remote.chunks import CompletionDetails, Metrics, Summary, Timings
from specdec.remote.server import Server
from specdec.types import DrafterStats, SpecStats, Speculation

_DRAFTER = "server"


def spec_stats(
    server: Server, metrics: Metrics | None, timings: Timings | None, details: CompletionDetails | None
) -> SpecStats:
    """By vLLM's metrics, llama.cpp's timings, or the counts in OpenAI's usage."""
    if metrics and metrics.speculative_decoding:
        return _of_summary(metrics.speculative_decoding)
    if timings and timings.draft_n:
        accepted = timings.draft_n_accepted or 0
        return _of_totals(timings.draft_n, accepted, timings.predicted_n)
    if details and details.accepted_prediction_tokens is not None:
        accepted = details.accepted_prediction_tokens
        return _of_totals(accepted + (details.rejected_prediction_tokens or 0), accepted, 0)
    return SpecStats(0, (), why_nothing(server))


def why_nothing(server: Server) -> Speculation:
    """Why there are no figures."""
    if server.speculates is False:
        return Speculation(why="unavailable", detail=f"the server at {server.base} does not speculate")
    advice = f"; {server.dialect.advice}" if server.dialect.advice else ""
    return Speculation(why="unknown", detail=f"the server at {server.base} does not say what it drafted{advice}")


def _of_totals(drafted: int, accepted: int, tokens: int) -> SpecStats:
    """Each round adds what it accepted and one token more, and the first token comes out of prefill."""
    rounds = max(tokens - 1 - accepted, 0)
    return SpecStats(rounds, (DrafterStats(_DRAFTER, (drafted,), (accepted,)),))  # at which positions, nobody says


def _of_summary(summary: Summary) -> SpecStats:
    rounds, histogram = summary.num_spec_steps, summary.acceptance_histogram
    accepted = tuple(sum(histogram[i + 1 :]) for i in range(len(histogram) - 1))
    drafted = _drafted(rounds, accepted, summary.num_draft_tokens)
    # a position is tested in the rounds that accepted the one before, as far as they drafted it
    tested = tuple(map(min, drafted, (rounds, *accepted)))
    drafters = (DrafterStats(_DRAFTER, drafted, accepted, tested),) if summary.num_draft_tokens else ()
    return SpecStats(rounds, drafters)


def _drafted(rounds: int, accepted: tuple[int, ...], total: int) -> tuple[int, ...]:
    """Per position. Only the sum is known: what was accepted was drafted, and the rest is laid on the first positions,
    which no round leaves out for a later one."""
    rest, drafted = total - sum(accepted), []
    for count in accepted:
        more = min(rest, rounds - count)
        drafted.append(count + more)
        rest -= more
    return tuple(drafted)
