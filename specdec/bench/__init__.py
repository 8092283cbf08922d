"""Measures generation: plain against speculative, and, on demand, every promised figure against its peers."""
