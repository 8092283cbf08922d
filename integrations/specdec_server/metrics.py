"""What Prometheus reads at /metrics: counters of tokens and rounds, histograms of time."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from specdec.types import EngineStats, GenerationEvent, SpecStats, Timing, Usage
from specdec_server.common.figures import Tally

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_TOKEN_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)


class ServerMetrics:
    """One server's figures, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = self._counter("requests", "HTTP requests answered", "path", "status")
        self._answers = self._counter("answers", "Answers, by how they ended", "outcome")
        self._prompt = self._counter("prompt_tokens", "Tokens of prompts")
        self._cached = self._counter("cached_tokens", "Tokens of prompts that were not computed again")
        self._completion = self._counter("completion_tokens", "Tokens of finished answers")
        self._rounds = self._counter("rounds", "Verify rounds of finished answers")
        self._drafted = self._counter("drafted_tokens", "Drafted tokens", "drafter", "position")
        self._accepted = self._counter("accepted_tokens", "Accepted tokens", "drafter", "position")
        self._tested = self._counter(
            "tested_tokens",
            "Drafted tokens with all before them accepted: accepted / tested is the acceptance per position",
            "drafter",
            "position",
        )
        self._queued = self._histogram("queue_seconds", "Time before an answer got its slot", _SECONDS)
        self._ttft = self._histogram("ttft_seconds", "Time to first token", _SECONDS)
        self._tpot = self._histogram("tpot_seconds", "Time per token after the first", _TOKEN_SECONDS)
        self._whole = self._histogram("answer_seconds", "Time of whole answers", _SECONDS)
        self._active = self._gauge("active", "Answers that hold a slot")
        self._waiting = self._gauge("queued", "Answers that wait for a slot")
        self._slots = self._gauge("slots", "Answers that can run at once")

    def request(self, path: str, status: int) -> None:
        self._requests.labels(path, status).inc()

    def observe(self, tallies: Iterable[Tally]) -> None:
        """Answers that will not go on."""
        for tally in tallies:
            last = tally.last
            self._answers.labels(last.finish_reason if last else "cancelled").inc()
            if last:
                self._observe(last)

    def exposition(self, stats: EngineStats, slots: int) -> bytes:
        self._active.set(stats.active)
        self._waiting.set(stats.queued)
        self._slots.set(slots)
        return generate_latest(self.registry)

    def _observe(self, last: GenerationEvent) -> None:
        assert last.usage and last.timing and last.stats
        self._observe_usage(last.usage)
        self._observe_timing(last.timing, last.usage)
        self._observe_stats(last.stats)

    def _observe_usage(self, usage: Usage) -> None:
        self._prompt.inc(usage.prompt_tokens)
        self._cached.inc(usage.cached_tokens)
        self._completion.inc(usage.completion_tokens)

    def _observe_timing(self, timing: Timing, usage: Usage) -> None:
        self._queued.observe(timing.queued)
        self._ttft.observe(timing.ttft)
        self._whole.observe(timing.total)
        if usage.completion_tokens > 1:
            self._tpot.observe((timing.total - timing.ttft) / (usage.completion_tokens - 1))

    def _observe_stats(self, stats: SpecStats) -> None:
        self._rounds.inc(stats.rounds)
        for d in stats.drafters:
            for counter, counts in (
                (self._drafted, d.drafted), (self._accepted, d.accepted), (self._tested, d.tested)
            ):  # fmt: skip
                for position, count in enumerate(counts):
                    counter.labels(d.drafter, position).inc(count)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"specdec_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"specdec_{name}", text, registry=self.registry, buckets=buckets)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"specdec_{name}", text, registry=self.registry)
