"""What the gauge says, as text: the same values for the panel beside the chat and for the strip under it."""

from __future__ import annotations

from textual.content import Content

from specdec.hub import size
from specdec.types import SpecStats, Usage
from specdec_tui.core.gauge import GaugeState, Reading
from specdec_tui.widgets.figures import bar, curve, first_token, fitting, milliseconds, rate, speed

_POSITIONS = 6
LEAST_RATES = 3
"""Fewer make no curve."""
_ROOM = 40
"""Columns of the speed's curve at most, in a line."""
_ACCEPTED = "bold $token-accepted"
_CELL, _GAP = 15, 3
"""Columns of a figure with its name, and between two of them."""
_Line = list[str | tuple[str, str]]


def calm(state: GaugeState, width: int) -> Content:
    """What people look at, beside the speed: figures at the right, under each other."""
    r = state.reading
    rows = (("Speed-up", _factor(r), _colour(r)), ("Accepted", _shares(r.stats)[0], _ACCEPTED))
    lines = (Content.assemble((name, "dim"), (f"{value:>{width - len(name)}}", style)) for name, value, style in rows)
    return Content("\n").join(lines)


def full(state: GaugeState, width: int) -> Content:
    """Everything below the digits, as far as it is known. The shares at positions are of drafts with all before them
    accepted."""
    r, info = state.reading, state.info
    pace: list[_Line] = [
        _columns(("mean", rate(r.mean) if r.mean else "–", ""), ("TTFT", _ttft(r), "")),
        _columns(("tokens", _tokens(r), ""), ("speed-up", _factor(r), _colour(r))),
    ]
    held = {"Prompt": _prompt(r.usage)}
    if info and info.cache_bytes:
        share = state.context_used / info.context if info.context else 0.0
        held["KV"] = f"{size(info.cache_bytes * share)} of {size(info.cache_bytes)}"
    if info and info.weight_bytes:
        held["Weights"] = size(info.weight_bytes)
    if state.engine.device_bytes is not None:
        held["GPU"] = size(state.engine.device_bytes)
    memory: list[_Line] = [[(name, "dim"), f"{value:>{width - len(name)}}"] for name, value in held.items()]
    blocks = (pace, _acceptance(r.stats, width - 15), _rounds(r, width - 8), memory)
    lines = (Content("\n").join(Content.assemble(*line) for line in block) for block in blocks if block)
    return Content("\n\n").join(lines)


def _columns(*cells: tuple[str, str, str]) -> _Line:
    """Figures under those of other lines. Each has a name, a value, and the value's style."""
    parts: _Line = []
    for name, value, style in cells:
        parts += [" " * _GAP if parts else "", (name, "dim"), (f"{value:>{_CELL - len(name)}}", style)]
    return parts


def _acceptance(stats: SpecStats, room: int) -> list[_Line]:
    share, length = _shares(stats)
    lines: list[_Line] = [_columns(("acceptance", share, _ACCEPTED), ("length", length, ""))]
    if not stats.drafted:
        return [*lines, [(stats.unknown, "dim")]] if stats.unknown else lines
    lines.append([("drafted  ", "dim"), ("━" * room, "$border"), f"{stats.drafted:>6}"])
    filled = bar(stats.accepted / stats.drafted, room)
    lines.append([("accepted ", "dim"), (f"{filled:<{room}}", "$token-accepted"), f"{stats.accepted:>6}"])
    for i, share_here in enumerate(stats.acceptance_per_position[:_POSITIONS], 1):
        filled = bar(share_here, room)
        rest = "━" * (room - len(filled))
        lines.append([(f"  at {i}   ", "dim"), (filled, "$token-accepted"), (rest, "$panel"), f"{share_here:>6.0%}"])
    if further := stats.acceptance_per_position[_POSITIONS:]:  # of a block
        label = f"  {_POSITIONS + 1}-{_POSITIONS + len(further)}"
        lines.append([(f"{label:<9}", "dim"), (curve(further, len(further), 1.0), "$token-accepted")])
    return lines


def _rounds(r: Reading, width: int) -> list[_Line]:
    if not r.stats.rounds:
        return []
    by = ", ".join(f"{d.drafter} {sum(d.accepted)}" for d in r.stats.drafters if d.drafter)
    lines: list[_Line] = [[("rounds ", "dim"), f"{r.stats.rounds}", ("  by " if by else "", "dim"), by]]
    if r.chosen:
        draft, verify = (f"{milliseconds(ms)} ms" for ms in (r.draft_ms, r.verify_ms))
        last = f" {r.chosen[-1]}" if r.running else ""  # the last round of all is cut by the answer's end
        lines.append([("k ", "dim"), (curve(r.chosen, width, 16), "$secondary"), last])
        lines.append(_columns(("draft", draft, ""), ("verify", verify, "")))
    return lines


def strip(state: GaugeState, width: int, *, details: bool) -> Content:
    """The same in a line, or in two, as far as there is room."""
    r, (share, length) = state.reading, _shares(state.reading.stats)
    known = speed(r)
    about = "≈" if r.estimated and known != "–" else ""
    line = Content.styled(f"{f'{about + known} tokens/s':<14}", "bold $primary")
    for name, value, style in (("speed-up", f"{_factor(r):>6}", _colour(r)), ("accepted", f"{share:>4}", _ACCEPTED)):
        longer = Content.assemble(line, (f"  {name} ", "dim"), (value, style))
        line = longer if longer.cell_length <= width else line
    room = min(width - line.cell_length - 2, _ROOM)
    if len(r.rates) >= LEAST_RATES and room > 0:
        line = Content.assemble(line, (f"  {curve(r.rates, room)}", "$primary"))
    if not details:
        return line
    parts = [f"{_tokens(r)} tokens", f"TTFT {_ttft(r)}", f"length {length}"]
    if positions := r.stats.acceptance_per_position:
        parts.append(f"by position {curve(positions, len(positions), 1.0)}")
    if r.chosen:
        parts.append(f"k {curve(r.chosen, 10, 16)}")
    return Content("\n").join([line, Content.styled(fitting(parts, width), "dim")])


def note(state: GaugeState) -> tuple[str, bool]:
    """What has to be said beside the figures, if anything, and whether it is an alarm."""
    if state.off:
        return f"Speculation off, because {state.off}", False
    return state.engine.warning or "", True


def _shares(stats: SpecStats) -> tuple[str, str]:
    """Acceptance rate and length."""
    return (
        f"{stats.acceptance_rate:.0%}" if stats.drafted else "–",
        f"{stats.acceptance_length:.2f}" if stats.drafted and stats.acceptance_length else "–",
    )


def _factor(r: Reading) -> str:
    """Over plain decoding: measured by /compare, else estimated."""
    factor = r.measured or r.speed_up
    return f"{'' if r.measured else '≈'}{factor:.2f}x" if factor else "–"


def _colour(r: Reading) -> str:
    """An estimate is no alarm: what else the machine did counts in it."""
    factor = r.measured or r.speed_up
    slower = "bold $error" if r.measured else "bold"
    return ("bold $success" if factor >= 1 else slower) if factor else "dim"


def _tokens(r: Reading) -> str:
    """A server that does not say how many is not taken at a guess."""
    return f"{'≈' if r.estimated else ''}{r.tokens}" if r.tokens else "–"


def _prompt(usage: Usage | None) -> str:
    if usage is None or usage.prompt_tokens is None:
        return "–"
    return f"{usage.prompt_tokens}" + ("" if usage.cached_tokens is None else f", {usage.cached_tokens} cached")


def _ttft(r: Reading) -> str:
    return "–" if r.ttft is None else first_token(r.ttft)
