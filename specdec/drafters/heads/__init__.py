"""Heads: drafters that read the target's hidden states (EAGLE-3, P-EAGLE, DFlash, DFlash2, DSpark)."""
