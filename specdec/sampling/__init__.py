"""From the target's logits to tokens: processors, noise, accept rules, logprobs."""
