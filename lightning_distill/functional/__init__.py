"""Networks as pure functions of their parameters: gradients, unrolling, chunking and compilation."""
