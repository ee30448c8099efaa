"""Units of a guarantee, images or patients: their Poisson samples and their clipped sums."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_distill.data import ArrayDataModule
from lightning_distill.signals.guarantee.statement import Unit


@dataclass(frozen=True)
class Units:
    """Units of the guarantee: what one of them adds to the sums is bounded.

    Args:
        of_row: Number of the unit of each training image, ``(N,)``.
        label: Class of each training image, ``(N,)``.
        several: Whether a unit may have images of several classes; its statistics are then clipped together.
    """

    of_row: NDArray[np.int64]
    label: NDArray[np.int64]
    several: bool

    def counts(self, classes: int) -> NDArray[np.int64]:
        """Return the number of units with an image of each class."""
        pairs = np.unique(np.stack([self.of_row, self.label]), axis=1)
        return np.bincount(pairs[1], minlength=classes)


def units_of(datamodule: ArrayDataModule, unit: Unit) -> Units:
    """Return the units of the training images.

    Raises:
        ValueError: Patients are asked for and unknown.
    """
    labels = np.asarray(datamodule.train_arrays()[1], np.int64)
    if unit == "image":
        return Units(np.arange(len(labels)), labels, several=False)
    groups = datamodule.groups.get("train")
    if groups is None or len(groups) != len(labels):
        raise ValueError(
            f"unit='patient', but {datamodule.spec.name} has no patient of each image; give the groups, or unit='image'"
        )
    return Units(np.unique(groups, return_inverse=True)[1].reshape(-1), labels, several=True)


def sample_rows(units: Units, rates: Sequence[float], entropy: np.random.Generator) -> NDArray[np.int64]:
    """Return the rows of a Poisson sample of units: each is drawn with the rate of its class, independently."""
    numbers, first = np.unique(units.of_row, return_index=True)
    chosen = entropy.random(len(numbers)) < np.asarray(rates)[units.label[first]]
    return np.flatnonzero(np.isin(units.of_row, numbers[chosen]))


def clipped_sums(
    features: Tensor, units: NDArray[np.int64], labels: NDArray[np.int64], classes: int, clip: float
) -> Tensor:
    """Return the sums ``(K, D)`` of the units' mean statistics; what one unit adds has an L2 norm of at most ``clip``.

    Args:
        features: Statistics of the images of a sample, ``(B, D)``.
        units: Unit of each image, ``(B,)``.
        labels: Class of each image, ``(B,)``.
        classes: Number K of classes.
        clip: Largest L2 norm.
    """
    if not len(units):
        return features.new_zeros(classes, features.shape[1])
    pairs, inverse, sizes = np.unique(np.stack([units, labels]), axis=1, return_inverse=True, return_counts=True)
    of_pair = torch.from_numpy(inverse.reshape(-1)).to(features.device)
    means = features.new_zeros(pairs.shape[1], features.shape[1]).index_add_(0, of_pair, features)
    means = means / torch.from_numpy(sizes).to(means)[:, None]  # a unit's mean in each of its classes
    of_unit = torch.from_numpy(np.unique(pairs[0], return_inverse=True)[1].reshape(-1)).to(features.device)
    squares = means.new_zeros(int(of_unit.max()) + 1).index_add_(0, of_unit, means.square().sum(1))
    norms = squares.sqrt().clamp(min=torch.finfo(means.dtype).tiny)
    means = means * (clip / norms).clamp(max=1.0)[of_unit][:, None]
    return means.new_zeros(classes, means.shape[1]).index_add_(0, torch.from_numpy(pairs[1]).to(means.device), means)
