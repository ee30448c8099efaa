"""What the methods minimise: pure functions from tensors to a scalar, the formula in the docstring."""

from lightning_distill.objectives.gradient import Distance, gradient_distance
from lightning_distill.objectives.labels import label_entropy
from lightning_distill.objectives.mean_embedding import mean_embedding_distance
from lightning_distill.objectives.trajectory import trajectory_distance

__all__ = ["Distance", "gradient_distance", "label_entropy", "mean_embedding_distance", "trajectory_distance"]
