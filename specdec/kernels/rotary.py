"""Heads as a product leaves them, made ready for attention: normed one by one, and at their rotary positions."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def turned(at, weight, position, cos, sin, keep, eps, HALF: tl.constexpr, NORM: tl.constexpr):
    """The halves of heads [n, HALF] at `at` [n], normed by `weight` if they are, at rotary `position` [n]; fp32."""
    lane = tl.arange(0, HALF)
    first = tl.load(at[:, None] + lane[None, :], mask=keep[:, None], other=0.0)
    second = tl.load(at[:, None] + HALF + lane[None, :], mask=keep[:, None], other=0.0)
    kind = first.dtype
    first, second = first.to(tl.float32), second.to(tl.float32)
    if NORM:
        mean = (tl.sum(first * first, 1) + tl.sum(second * second, 1)) / (2 * HALF)
        factor = tl.rsqrt(mean + eps)[:, None]
        first = (first * factor).to(kind).to(tl.float32) * tl.load(weight + lane).to(tl.float32)[None, :]
        second = (second * factor).to(kind).to(tl.float32) * tl.load(weight + HALF + lane).to(tl.float32)[None, :]
        first, second = first.to(kind).to(tl.float32), second.to(kind).to(tl.float32)
    angle = position[:, None] * (2 * HALF) + lane[None, :]
    c = tl.load(cos + angle, mask=keep[:, None], other=0.0)
    s = tl.load(sin + angle + HALF, mask=keep[:, None], other=0.0)
    return first * c - second * s, second * c + first * s


@triton.jit
def new_halves(fresh, k_norm, key, new, cos, sin, eps, KV: tl.constexpr, HALF: tl.constexpr, NORM: tl.constexpr):
    """The halves of keys and values that the product left at `fresh` [n], where they are `new` [n]."""
    k1, k2 = turned(fresh, k_norm, key, cos, sin, new, eps, HALF, NORM)
    at = (fresh + KV * 2 * HALF)[:, None] + tl.arange(0, HALF)[None, :]
    v1, v2 = tl.load(at, mask=new[:, None], other=0.0), tl.load(at + HALF, mask=new[:, None], other=0.0)
    return k1.to(v1.dtype), k2.to(v1.dtype), v1, v2
