"""A small invented world, told by a program: seeded, unlimited, and never twice the same.

Contract: `stream(seed)` in `mix.py` yields `Sample`s. The same seed gives the same samples in the same order, and
different seeds give different ones. Whatever an answer claims is true of the sample's own context, because the
answer is computed from the state that the context was written from.
"""
