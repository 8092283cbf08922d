"""Figures as text, the same wherever they are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.cells import cell_len

from specdec_tui.core.gauge import Reading

_BARS = "▁▂▃▄▅▆▇█"


def rate(value: float) -> str:
    """Tokens/s in a few digits."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"


def speed(r: Reading) -> str:
    """Tokens/s of this moment, or of the whole answer."""
    value = r.now if r.running else r.mean
    stalled = r.running and r.tokens and not r.estimated
    return rate(value) if value or stalled else "–"


def milliseconds(value: float) -> str:
    return f"{value:.0f}" if value >= 20 else f"{value:.1f}"


def count(number: float) -> str:
    """Millions or billions, of parameters."""
    return f"{number / 1e9:.1f} billion" if number >= 1e9 else f"{number / 1e6:.3g} million"


def first_token(seconds: float) -> str:
    """TTFT."""
    return f"{milliseconds(1000 * seconds)} ms" if seconds < 10 else f"{seconds:.1f} s"


def fitting(parts: Sequence[str], room: int) -> str:
    """As many of them as there is room for, the first one always."""
    while len(parts) > 1 and cell_len(" · ".join(parts)) > room:
        parts = parts[:-1]
    return " · ".join(parts)


def curve(values: Sequence[float], width: int, top: float | None = None) -> str:
    """The last `width` values as bars one line high."""
    shown = values[-width:]
    most = top or max(shown, default=0) or 1
    return "".join(_BARS[min(int(v / most * len(_BARS)), len(_BARS) - 1)] for v in shown)


def bar(share: float, width: int) -> str:
    """A horizontal bar in halves of a cell."""
    halves = round(max(0.0, min(share, 1.0)) * width * 2)
    return "━" * (halves // 2) + "╸" * (halves % 2)


def answer_parts(figures: Mapping[str, float | str]) -> list[str]:
    """How an answer came; what counts most comes first. What is not known is left out."""
    r = Reading.of(figures)
    about = "≈" if r.estimated else ""
    parts = ["cut short"] if figures.get("finish") == "length" else []
    parts += [f"{about}{rate(r.mean)} tokens/s"] if r.mean else []
    if r.stats.drafted:
        length = f", length {r.stats.acceptance_length:.2f}" if r.stats.acceptance_length else ""
        parts.append(f"acceptance {r.stats.acceptance_rate:.0%}{length}")
    parts.append(f"{about}{r.tokens} token{'' if r.tokens == 1 else 's'}")
    if r.ttft:
        parts.append(f"TTFT {first_token(r.ttft)}")
    return parts
