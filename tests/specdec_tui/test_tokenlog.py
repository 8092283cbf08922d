from __future__ import annotations

from specdec_tui.core.tokenlog import Entry, Lines, TokenLog
from tests.specdec_tui.events import event, token


def _log() -> TokenLog:
    log = TokenLog()
    log.add(event([token("Once", number=1)]))
    log.add(event([token(" upon", "accepted", 2), token(" time", "recovered", 3)], [2, 1, 9], 1))
    return log


def _text(lines: Lines) -> list[str]:
    return ["".join(p.text for p in line) for line in lines.lines]


def _lines(log: TokenLog, width: int, *, rejected: bool = True, separators: bool = True) -> Lines:
    lines = Lines(log, width, rejected=rejected, separators=separators)
    lines.extend()
    return lines


def test_rejected_drafts_stand_before_what_replaced_them() -> None:
    entries = [(e.text, e.kind, e.round) for e in _log().entries]
    assert entries == [
        ("Once", "plain", 1), (" upon", "accepted", 2), ("⟨1⟩", "rejected", 2), ("⟨9⟩", "rejected", 2),
        (" time", "recovered", 2),
    ]  # fmt: skip


def test_lines_can_leave_out_rejected_drafts_and_separators() -> None:
    assert _text(_lines(_log(), 80)) == ["Once│ upon⟨1⟩⟨9⟩ time"]
    assert _text(_lines(_log(), 80, rejected=False, separators=False)) == ["Once upon time"]


def test_lines_wrap_at_tokens_and_cut_what_is_too_long() -> None:
    log = TokenLog()
    log.add(event([token("abcdef"), token("gh"), token("0123456789")]))
    assert _text(_lines(log, 4)) == ["abcd", "efgh", "0123", "4567", "89"]


def test_line_ends_are_shown_and_obeyed() -> None:
    log = TokenLog()
    log.add(event([token("a\n\nb")]))
    assert _text(_lines(log, 9)) == ["a⏎", "⏎", "b"]


def test_growing_gives_what_laying_out_anew_gives() -> None:
    log = TokenLog()
    grown = Lines(log, 11, rejected=True, separators=True)
    for i in range(40):
        log.add(event([token(f"w{i} ", "accepted", i), token("界", "bonus", 99)], [i], 1))
        grown.extend()
    assert grown.lines == _lines(log, 11).lines


def test_wide_characters_count_as_two_cells() -> None:
    log = TokenLog()
    log.add(event([token("界界界")]))
    assert _text(_lines(log, 4)) == ["界界", "界"]


def test_cells_lead_back_to_entries() -> None:
    lines = _lines(_log(), 80)
    assert [lines.entry_at(x, 0) for x in (0, 4, 5, 99)] == [0, None, 1, None]
    assert lines.entry_at(0, 5) is None


def test_control_characters_are_pictures() -> None:
    log = TokenLog()
    log.add(event([token("\x1b[31mred\x07")]))
    assert _text(_lines(log, 80)) == ["␛[31mred␇"]


def test_an_entry_knows_its_round() -> None:
    entry: Entry = _log().entries[-1]
    assert entry.timing is not None
    assert entry.timing.drafted == (2, 1, 9)
