"""What Prometheus reads at /metrics: counters of tokens and rounds, histograms of time."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from specdec.types import Ending, EngineStats

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_TOKEN_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)


class ServerMetrics:
    """One server's figures, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = self._counter("requests", "HTTP requests answered", "path", "status")
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

    def observe(self, endings: Iterable[Ending | None]) -> None:
        """Answers that will not go on; None is one that has not ended by itself."""
        for end in endings:
            self._answers.labels(end.reason if end else "cancelled").inc()
            if end is None:
                continue
            self._prompt.inc(end.usage.prompt_tokens or 0)
            self._cached.inc(end.usage.cached_tokens or 0)
            self._completion.inc(end.usage.completion_tokens or 0)
            if end.timing.queued is not None:
                self._queued.observe(end.timing.queued)
            self._ttft.observe(end.timing.ttft)
            self._whole.observe(end.timing.total)
            if speed := end.timing.tokens_per_second(end.usage.completion_tokens):
                self._tpot.observe(1 / speed)
            self._rounds.inc(end.stats.rounds)
            for d in end.stats.drafters:
                by_position = ((self._drafted, d.drafted), (self._accepted, d.accepted), (self._tested, d.tested))
                for counter, counts in by_position:
                    for position, count in enumerate(counts):
                        counter.labels(d.drafter, position).inc(count)

    def exposition(self, stats: EngineStats, slots: int) -> bytes:
        self._active.set(stats.active)
        self._waiting.set(stats.queued)
        self._slots.set(slots)
        return generate_latest(self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"specdec_{name}", text, labels, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
        return Histogram(f"specdec_{name}", text, registry=self.registry, buckets=buckets)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"specdec_{name}", text, registry=self.registry)
