"""What proposes tokens: a draft model, lookup in the sequence itself, the caller's prediction."""
