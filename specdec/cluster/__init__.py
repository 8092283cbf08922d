"""From our words (target, draft, k, parallelism, nodes) to a vLLM that keeps to them."""
