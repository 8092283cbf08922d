"""What the gauge says, as text: the same values for the panel beside the chat and for the strip under it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from textual.content import Content

from specdec.types import EngineInfo, SpecStats, Speculation
from specdec_tui.core.gauge import Reading
from specdec_tui.widgets.figures import bar, curve, milliseconds, rate, size

_POSITIONS = 6
_Part = str | tuple[str, str]


@dataclass(frozen=True, slots=True)
class Dial:
    """All that the gauge shows: a reading, and what the engine says of itself."""

    reading: Reading = field(default_factory=Reading)
    info: EngineInfo | None = None
    speculation: Speculation = field(default_factory=Speculation)
    """What the controller decided last."""
    warning: str | None = None
    """That drafting is on but does poorly."""
    device_bytes: int | None = None
    context_used: int = 0
    measured: float | None = None
    """Speed-up that /compare measured last."""

    @property
    def off(self) -> str | None:
        """Why speculation is off, or None while it is on."""
        if self.info and self.info.speculation_unavailable:
            return self.info.speculation_unavailable
        if not self.reading.running and self.reading.off:
            return self.reading.off
        if self.speculation.on or self.speculation.why == "starting":
            return None
        return self.speculation.reason

    @property
    def speed_up(self) -> tuple[float, bool] | None:
        """Over plain decoding, and whether that was measured or is the controller's estimate."""
        if self.measured is not None:
            return self.measured, True
        plain, best = self.speculation.plain_rate, self.speculation.rate
        return None if not plain or not best or self.off else (best / plain, False)


def speed_up_part(dial: Dial) -> list[_Part]:
    known = dial.speed_up
    if known is None:
        return []
    factor, measured = known
    sign = "" if measured else "≈"
    return [(f"{sign}{factor:.2f}x plain", "bold $error" if factor < 1 else "bold $success")]


def panel(dial: Dial, width: int) -> Content:
    """Everything below the digits."""
    blocks = (
        _speed(dial), _acceptance(dial.reading.stats, width), _rounds(dial.reading, width), _memory(dial)
    )  # fmt: skip
    return Content("\n\n").join(Content("\n").join(Content.assemble(*line) for line in block) for block in blocks)


def strip(dial: Dial) -> Content:
    """The same in two lines."""
    r, stats = dial.reading, dial.reading.stats
    ttft = "–" if r.ttft is None else f"{milliseconds(1000 * r.ttft)} ms"
    first: list[_Part] = [
        (f"{rate(r.now if r.running else r.mean):>5} tok/s ", "bold $primary"), (curve(r.rates, 12), "$primary"),
        f"  mean {rate(r.mean)}  TTFT {ttft}  ", *speed_up_part(dial),
    ]  # fmt: skip
    second: list[_Part] = [
        (f"{stats.acceptance_rate:5.0%} accepted ", "bold $token-accepted"),
        f"length {stats.acceptance_length:.2f}  ",
        *(part for i, p in enumerate(stats.acceptance_per_position[:_POSITIONS], 1) for part in _small(i, p)),
        f" k {curve(r.chosen, 10, 16)} {r.chosen[-1] if r.chosen else 0}",
    ]  # fmt: skip
    return Content("\n").join([Content.assemble(*first), Content.assemble(*second)])


def off_line(dial: Dial) -> str:
    """What has to be said loudly, if anything."""
    return f"Speculation off, because {dial.off}" if dial.off else dial.warning or ""


def _small(position: int, acceptance: float) -> list[_Part]:
    return [(f"{position}", "dim"), (curve([acceptance], 1, 1.0), "$token-accepted")]


def _speed(dial: Dial) -> Iterator[list[_Part]]:
    r = dial.reading
    ttft = "–" if r.ttft is None else f"{milliseconds(1000 * r.ttft)} ms"
    yield [("mean ", "dim"), rate(r.mean), ("   TTFT ", "dim"), ttft]
    yield [("tokens ", "dim"), f"{r.tokens}   ", *speed_up_part(dial)]


def _acceptance(stats: SpecStats, width: int) -> Iterator[list[_Part]]:
    """The shares at positions are of drafts with all before them accepted."""
    yield [("Acceptance ", "bold"), (f"{stats.acceptance_rate:.0%}", "bold $token-accepted"), ("  length ", "dim"),
           (f"{stats.acceptance_length:.2f}", "bold")]  # fmt: skip
    room = width - 15
    yield [("drafted  ", "dim"), ("━" * (room if stats.drafted else 0), "$border"), f" {stats.drafted}"]
    yield [("accepted ", "dim"), (bar(stats.acceptance_rate, room), "$token-accepted"), f" {stats.accepted}"]
    for i, share in enumerate(stats.acceptance_per_position[:_POSITIONS], 1):
        filled = bar(share, room)
        yield [
            (f"  at {i:>2}  ", "dim"),
            (filled, "$token-accepted"),
            ("━" * (room - len(filled)), "$panel"),
            f" {share:.0%}",
        ]


def _rounds(r: Reading, width: int) -> Iterator[list[_Part]]:
    by = ", ".join(f"{d.drafter} {sum(d.accepted)}" for d in r.stats.drafters)
    yield [("Rounds ", "bold"), f"{r.stats.rounds}", ("  by " if by else "", "dim"), by]
    now = r.chosen[-1] if r.chosen else 0
    yield [("k ", "dim"), (curve(r.chosen, width - 8, 16), "$secondary"), f" {now}"]
    draft, verify = (f"{milliseconds(ms)} ms" for ms in (r.draft_ms, r.verify_ms))
    yield [("draft ", "dim"), draft, ("   verify ", "dim"), verify]


def _memory(dial: Dial) -> Iterator[list[_Part]]:
    usage, info = dial.reading.usage, dial.info
    cached = f"{usage.prompt_tokens}, {usage.cached_tokens} cached" if usage else "–"
    yield [("Prompt ", "bold"), cached]
    if info:
        share = dial.context_used / info.context if info.context else 0.0
        kv = f"{size(info.cache_bytes * share)} of {size(info.cache_bytes)}"
        yield [("KV ", "bold"), kv]
        yield [("Weights ", "bold"), size(info.weight_bytes)]
    if dial.device_bytes is not None:
        yield [("GPU ", "bold"), size(dial.device_bytes)]
