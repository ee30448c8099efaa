"""Objectives of embeddings by name, for `DMDistiller` and `IDMDistiller`."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from lightning_distill.objectives.characteristic_function import characteristic_function_distance
from lightning_distill.objectives.distribution_matching import mean_embedding_distance
from lightning_distill.objectives.gaussian_mmd import gaussian_mmd
from lightning_distill.objectives.moments import moment_distance

#: Distance of the embeddings of real images ``(B, F)`` and synthetic images ``(M, F)`` of a class: a scalar, float32.
#: Only the synthetic ones are differentiated. Random numbers come from torch's current CPU random stream.
EmbeddingDistance = Callable[[Tensor, Tensor], Tensor]

EMBEDDING_DISTANCES: dict[str, EmbeddingDistance] = {
    "mean": mean_embedding_distance,
    "moments": moment_distance,
    "characteristic": characteristic_function_distance,
    "mmd": gaussian_mmd,
}


def get_embedding_distance(name: str) -> EmbeddingDistance:
    """Return an objective by name.

    Raises:
        ValueError: The name is unknown.
    """
    if name not in EMBEDDING_DISTANCES:
        raise ValueError(f"unknown objective {name!r}; use one of {', '.join(EMBEDDING_DISTANCES)}")
    return EMBEDDING_DISTANCES[name]
