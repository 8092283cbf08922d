"""What decoding runs on a GPU, in Triton: products of a few rows, attention over slots, noise and argmax.

Every function's result for one row depends on that row alone: not on how many rows there are, nor on which others. That
is what makes a token's logits the same bits however it was computed. Nothing here waits for the device, so all of it
can be captured in graphs.
"""
