from __future__ import annotations

from specdec_tui.core.frames import DRAWING, Frames


def take(frames: Frames, now: float, share: float = DRAWING) -> str:
    """What a frame at that time shows; it begins if there is something to show."""
    text = frames.take() if frames.due(now) else ""
    if text:
        frames.begin(now, share)
    return text


def test_text_comes_out_whole_and_in_order() -> None:
    frames, out = Frames(), ""
    for i in range(100):
        frames.feed(f"word{i} ")
        out += take(frames, i * 0.01)
    out += frames.rest()
    assert out == "".join(f"word{i} " for i in range(100))


def test_a_frame_is_not_due_at_once_again() -> None:
    frames = Frames()
    frames.feed("a")
    assert take(frames, 0.0) == "a"
    frames.feed("b")
    assert take(frames, 0.01) == ""
    assert take(frames, 0.05) == "b"


def test_a_frame_waits_until_the_last_one_was_a_small_share_of_the_time() -> None:
    frames = Frames()
    for _ in range(20):
        frames.spent(0.02)
    frames.feed("a")
    assert take(frames, 0.0, share=0.1) == "a"
    frames.feed("b")
    assert take(frames, 0.19, share=0.1) == ""
    assert take(frames, 0.21, share=0.1) == "b"


def test_fences_are_calm_and_grow_by_lines() -> None:
    frames = Frames()
    frames.feed("Look:\n```python\nx = 1\n")
    take(frames, 0.0)
    assert frames.in_fence
    frames.feed("y = 2\nz")
    assert take(frames, 0.06) == ""
    assert take(frames, 0.2) == "y = 2\n"
    frames.feed(" = 3\n```\nDone")
    assert take(frames, 0.4) == "z = 3\n```\n"
    assert not frames.in_fence
    assert take(frames, 0.7) == "Done"


def test_what_looks_like_a_fence_inside_one_does_not_end_it() -> None:
    frames = Frames()
    frames.feed("````md\n```python\ntext\n```\n")
    take(frames, 0.0)
    assert frames.in_fence
    frames.feed("````\n")
    take(frames, 1.0)
    assert not frames.in_fence


def test_inline_backticks_are_no_fence() -> None:
    frames = Frames()
    frames.feed("```not a fence``` here\n")
    take(frames, 0.0)
    assert not frames.in_fence


def test_dear_frames_come_less_often() -> None:
    frames = Frames()
    for i in range(20):
        frames.feed("x")
        if take(frames, float(i)):
            frames.spent(0.1)
    frames.feed("y")
    assert take(frames, 19.2) == ""
    assert take(frames, 19.5) == "y"
