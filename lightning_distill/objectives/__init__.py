"""What the methods minimise: pure functions from tensors to a scalar, the formula in the docstring."""

from lightning_distill.objectives.mean_embedding import mean_embedding_distance

__all__ = ["mean_embedding_distance"]
