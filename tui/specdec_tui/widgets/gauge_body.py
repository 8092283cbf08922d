"""What the gauge says, as text: the same values for the panel beside the chat and for the strip under it."""

from __future__ import annotations

from textual.content import Content

from specdec_tui.core.gauge import GaugeState
from specdec_tui.widgets.figures import bar, curve, milliseconds, rate, size

_POSITIONS = 6
_Line = list[str | tuple[str, str]]


def panel(state: GaugeState, width: int) -> Content:
    """Everything below the digits. The shares at positions are of drafts with all before them accepted."""
    r, stats, info, room = state.reading, state.reading.stats, state.info, width - 15
    speed: list[_Line] = [
        [("mean ", "dim"), rate(r.mean), ("   TTFT ", "dim"), _ttft(state)],
        [("tokens ", "dim"), f"{r.tokens}   ", *_speed_up(state)],
    ]
    acceptance: list[_Line] = [
        [("Acceptance ", "bold"), (f"{stats.acceptance_rate:.0%}", "bold $token-accepted")],
        [("drafted  ", "dim"), ("━" * (room if stats.drafted else 0), "$border"), f" {stats.drafted}"],
        [("accepted ", "dim"), (bar(stats.acceptance_rate, room), "$token-accepted"), f" {stats.accepted}"],
    ]
    acceptance[0] += [("  length ", "dim"), (f"{stats.acceptance_length:.2f}", "bold")]
    for i, share in enumerate(stats.acceptance_per_position[:_POSITIONS], 1):
        filled = bar(share, room)
        rest = "━" * (room - len(filled))
        acceptance.append([(f"  at {i:>2}  ", "dim"), (filled, "$token-accepted"), (rest, "$panel"), f" {share:.0%}"])
    by = ", ".join(f"{d.drafter} {sum(d.accepted)}" for d in stats.drafters)
    draft, verify = (f"{milliseconds(ms)} ms" for ms in (r.draft_ms, r.verify_ms))
    rounds: list[_Line] = [
        [("Rounds ", "bold"), f"{stats.rounds}", ("  by " if by else "", "dim"), by],
        [("k ", "dim"), (curve(r.chosen, width - 8, 16), "$secondary"), f" {r.chosen[-1] if r.chosen else 0}"],
        [("draft ", "dim"), draft, ("   verify ", "dim"), verify],
    ]
    cached = f"{r.usage.prompt_tokens}, {r.usage.cached_tokens} cached" if r.usage else "–"
    memory: list[_Line] = [[("Prompt ", "bold"), cached]]
    if info:
        share = state.context_used / info.context if info.context else 0.0
        memory.append([("KV ", "bold"), f"{size(info.cache_bytes * share)} of {size(info.cache_bytes)}"])
        memory.append([("Weights ", "bold"), size(info.weight_bytes)])
    if state.engine.device_bytes is not None:
        memory.append([("GPU ", "bold"), size(state.engine.device_bytes)])
    blocks = (speed, acceptance, rounds, memory)
    return Content("\n\n").join(Content("\n").join(Content.assemble(*line) for line in block) for block in blocks)


def strip(state: GaugeState) -> Content:
    """The same in two lines."""
    r, stats = state.reading, state.reading.stats
    first: _Line = [(f"{rate(r.now if r.running else r.mean):>5} tok/s ", "bold $primary")]
    first += [(curve(r.rates, 12), "$primary"), f"  mean {rate(r.mean)}  TTFT {_ttft(state)}  ", *_speed_up(state)]
    second: _Line = [(f"{stats.acceptance_rate:5.0%} accepted ", "bold $token-accepted")]
    second.append(f"length {stats.acceptance_length:.2f}  ")
    for i, share in enumerate(stats.acceptance_per_position[:_POSITIONS], 1):
        second += [(f"{i}", "dim"), (curve([share], 1, 1.0), "$token-accepted")]
    second.append(f" k {curve(r.chosen, 10, 16)} {r.chosen[-1] if r.chosen else 0}")
    return Content("\n").join([Content.assemble(*first), Content.assemble(*second)])


def off_line(state: GaugeState) -> str:
    """What has to be said loudly, if anything."""
    return f"Speculation off, because {state.off}" if state.off else state.engine.warning or ""


def _speed_up(state: GaugeState) -> _Line:
    if state.speed_up is None:
        return []
    factor, measured = state.speed_up
    return [(f"{'' if measured else '≈'}{factor:.2f}x plain", f"bold ${'error' if factor < 1 else 'success'}")]


def _ttft(state: GaugeState) -> str:
    seconds = state.reading.ttft
    return "–" if seconds is None else f"{milliseconds(1000 * seconds)} ms"
