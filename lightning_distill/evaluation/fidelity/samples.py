"""Samples of a table: sets, the real reference, and random training images with the class counts of a set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from lightning_distill.data import ArrayDataModule
from lightning_distill.data.checks.arrays import Array
from lightning_distill.evaluation.copies.search import split_images
from lightning_distill.evaluation.fidelity.feature_network import FeatureNetwork
from lightning_distill.evaluation.fidelity.metric import Features, Rows, Sample
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.utils.lazy_arrays import take
from lightning_distill.utils.rng import derive_seed

#: Number of training images that the scale of the features is taken from.
SCALE_IMAGES = 1000


def class_numbers(labels: Sequence[NDArray[np.integer]]) -> list[Rows]:
    """Return the same number for the same class in several label arrays.

    Args:
        labels: Labels ``(N,)``, which are kept, or 0/1 rows ``(N, K)``: each combination becomes a number.

    Example:
        >>> [part.tolist() for part in class_numbers([np.array([[0, 1], [1, 1]]), np.array([[1, 1]])])]
        [[0, 1], [1]]
    """
    if labels[0].ndim == 1:
        return [part.astype(np.int64) for part in labels]
    numbers = np.unique(np.concatenate(labels), axis=0, return_inverse=True)[1].reshape(-1)
    return np.split(numbers.astype(np.int64), np.cumsum([len(part) for part in labels])[:-1])


def labels_of_set(labeled_set: LabeledSet) -> NDArray[np.int64]:
    """Return labels ``(N,)``, or 0/1 rows ``(N, K)`` for multi-label data, of a decoded set."""
    labels = labeled_set.labels
    targets = labeled_set.spec.targets(labels) if labels.ndim == 1 else labels
    return np.asarray(targets.numpy(), np.int64)


class RealImages:
    """Real images of a data module with features: the reference split, and random training images.

    Args:
        datamodule: Data module.
        split: Reference split, ``val`` or ``test``.
        network: Feature network; ``None`` where no metric uses features.

    Attributes:
        scale: Root mean square of the features of training images. Features are divided by it, since the scale of a
            trained network is arbitrary and enters the kernel of KID.

    Raises:
        ValueError: The data have no such split.
    """

    def __init__(self, datamodule: ArrayDataModule, split: str, network: FeatureNetwork | None) -> None:
        self.network = network
        self._reference: Array = split_images(datamodule, split)
        self._train, train_labels = datamodule.all_train_arrays()
        self._labels = train_labels, datamodule.splits[split][1]
        self.scale = 1.0
        if network is not None:
            rows = np.random.default_rng(0).permutation(len(train_labels))[:SCALE_IMAGES]
            features = network.embed(np.asarray(take(self._train, np.sort(rows))[:]))
            self.scale = float(np.sqrt(np.square(features, dtype=np.float64).mean())) or 1.0

    def embed(self, images: Array | torch.Tensor) -> Features:
        """Return the features ``(N, F)`` of images in pixel units over the scale; ``(N, 0)`` without a network."""
        if self.network is None:
            return np.empty((len(images), 0), np.float32)
        return self.network.embed(images) / np.float32(self.scale)

    def samples(self, decoded: Sequence[LabeledSet], formations: Sequence[int]) -> tuple[Sample, list[Sample]]:
        """Return the reference and the sets as samples; classes have the same numbers in all of them.

        Args:
            decoded: Decoded sets.
            formations: Number of sub-images along each side of a stored image of each set.
        """
        numbers = class_numbers([*self._labels, *map(labels_of_set, decoded)])
        self._classes = numbers[0]
        pixels = torch.from_numpy(np.ascontiguousarray(self._reference[:]))
        reference = Sample(pixels, numbers[1], self.embed(self._reference))
        return reference, [
            Sample(one.pixels, own, self.embed(one.pixels), formation)
            for one, own, formation in zip(decoded, numbers[2:], formations, strict=True)
        ]

    def drawn_counts(self, sample: Sample) -> dict[int, int]:
        """Return the number of training images of each class in a draw for a set.

        Class counts are those of the set, or smaller ones in the same proportion where a class has fewer training
        images. Empty if a class of the set has none.

        Args:
            sample: Set.
        """
        classes, wanted = np.unique(sample.classes, return_counts=True)
        available = np.array([(self._classes == name).sum() for name in classes])
        share = min(1.0, float((available / wanted).min()))
        counts = np.floor(wanted * share + 1e-9).astype(int)
        return {int(name): int(count) for name, count in zip(classes, counts, strict=True)} if counts.min() else {}

    def draws(self, counts: dict[int, int], number: int, seed: int) -> list[Sample]:
        """Return random subsets of the training images.

        Args:
            counts: Number of images of each class.
            number: Number of subsets.
            seed: Seed of the subsets.
        """
        samples = []
        for draw in range(number if counts else 0):
            random = np.random.default_rng(derive_seed("real", seed, draw))
            rows = np.sort(np.concatenate([
                random.choice(np.flatnonzero(self._classes == name), count, replace=False)
                for name, count in counts.items()
            ]))  # fmt: skip
            pixels = torch.from_numpy(np.ascontiguousarray(take(self._train, rows)[:]))
            samples.append(Sample(pixels, self._classes[rows], self.embed(pixels)))
        return samples
