"""/v1/completions: text to continue, without a chat template."""
