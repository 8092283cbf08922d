"""The ends of a round on the device: where its rows stand, and what becomes of its drafts.

`SlotTable` is what the device knows of each slot; one program sees to one row.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from specdec.kernels.launch import clock


@triton.jit(do_not_specialize=["width"])  # nothing is compiled for another number of drafts
def _begin(slots, tokens, lengths, pair, verify, starts, stamps, capacity, width, CLOCK: tl.constexpr):
    row = tl.program_id(0)
    slot = tl.load(slots + row)
    length = tl.load(lengths + slot)
    last = tl.load(tokens + slot * capacity + length - 1)
    tl.store(pair + 2 * row, tl.load(tokens + slot * capacity + length - 2))
    tl.store(pair + 2 * row + 1, last)
    tl.store(verify + row * width, last)
    tl.store(starts + row, (length - 1).to(tl.int32))
    if CLOCK:
        if row == 0:
            tl.store(stamps, clock())


def begin(slots: Tensor, tokens: Tensor, lengths: Tensor, drafts: int, stamps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """For rows in `slots` [B] int64 that hold `tokens` [S, capacity] up to `lengths` [S] int64: the last two tokens
    [B, 2], room for the tokens to verify [B, drafts + 1] with the last token in front, and where that stands [B] int32.
    Writes the device's clock to stamps[0]."""
    rows, device = slots.shape[0], slots.device
    pair = torch.empty((rows, 2), dtype=torch.int64, device=device)
    verify = torch.empty((rows, drafts + 1), dtype=torch.int64, device=device)
    starts = torch.empty(rows, dtype=torch.int32, device=device)
    given = slots, tokens, lengths, pair, verify, starts, stamps, tokens.shape[1], drafts + 1
    _begin[(rows,)](*given, CLOCK=device.type == "cuda", num_warps=1)
    return pair, verify, starts


@triton.jit(do_not_specialize=["drafts"])
def _settle(
    slots,
    allowed,
    tokens,
    lengths,
    verify,
    own,
    out,
    stamps,
    capacity,
    spare,
    drafts,
    WIDTH: tl.constexpr,
    CLOCK: tl.constexpr,
):
    row, rows = tl.program_id(0), tl.num_programs(0)
    slot, most = tl.load(slots + row), tl.load(allowed + row)
    length = tl.load(lengths + slot)
    at = tl.arange(0, WIDTH)
    marked = tl.load(own + row * (drafts + 1) + at, mask=at <= drafts, other=0)
    said = tl.where(marked < 0, -1 - marked, marked)  # a round may follow before the host has seen the mark
    drafted = tl.load(verify + row * (drafts + 1) + 1 + at, mask=at < drafts, other=-1)
    wrong = (marked != drafted) | (at >= most) | (at >= drafts)
    accepted = tl.min(tl.where(wrong, at, WIDTH), 0).to(tl.int64)
    if slot != spare:
        tl.store(tokens + slot * capacity + length + at, said, mask=at <= accepted)
        tl.store(lengths + slot, length + accepted + 1)
    result = out + row * (2 * drafts + 2)
    tl.store(result + at, marked, mask=at <= drafts)
    tl.store(result + drafts + 1, accepted)
    tl.store(result + drafts + 2 + at, drafted, mask=at < drafts)
    if CLOCK:
        if row == 0:
            end = out + rows * (2 * drafts + 2)
            tl.store(end, tl.load(stamps))
            tl.store(end + 1, tl.load(stamps + 1))
            tl.store(end + 2, clock())


def settle(
    slots: Tensor, allowed: Tensor, tokens: Tensor, lengths: Tensor, verify: Tensor, own: Tensor, stamps: Tensor
) -> Tensor:
    """Accept the drafts verify[:, 1:] as far as they are the target's own tokens `own` [B, k + 1] and no more than
    `allowed` [B]; write what was accepted, and the target's next token, behind the rows' tokens. The last slot is
    spare: nothing is kept there. Tokens that `choose.argmax` marked are kept without the mark.

    Returns for each row own [k + 1], the accepted count, and drafts [k]; then three stamps. int64.
    """
    rows, drafts = slots.shape[0], verify.shape[1] - 1
    out = torch.zeros(rows * (2 * drafts + 2) + 3, dtype=torch.int64, device=slots.device)
    given = slots, allowed, tokens, lengths, verify, own, out, stamps, tokens.shape[1], tokens.shape[0] - 1, drafts
    width, clock = max(2, triton.next_power_of_2(drafts + 1)), slots.device.type == "cuda"
    _settle[(rows,)](*given, WIDTH=width, CLOCK=clock, num_warps=1)
    return out
