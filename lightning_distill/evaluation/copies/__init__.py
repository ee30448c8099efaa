"""Near copies of training images: the tau rule, its embedding, and the removal of copies from a set."""
