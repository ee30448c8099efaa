"""Difficulty of a data set without training: nearest-neighbour accuracy and class separability of real images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightning_distill.spec import DataSpec

Arrays = tuple[NDArray[np.generic], NDArray[np.int64]]
Features = NDArray[np.float32]

#: Default number of neighbours that vote.
NEIGHBOURS = 5
#: Default number of principal components for `separability`.
COMPONENTS = 32
#: Maximum numbers of real images. A few thousand images determine these statistics to about one percentage point.
TRAIN_IMAGES, SCORED_IMAGES = 5000, 2000
#: Maximum number of normalised float32 values, 256 MiB.
MAX_ELEMENTS = 1 << 26


@dataclass(frozen=True)
class DifficultyStats:
    """Predictors of difficulty that need no students.

    Args:
        classes: Number of classes K.
        images: Number of training images.
        smallest_class: Number of training images of the smallest class.
        knn_acc: Accuracy of the nearest neighbours, a fraction; see `knn_accuracy`.
        knn_balanced_acc: Mean recall over the classes present, a fraction.
        separability: Ratio of scatter between and within classes; see `separability`.
        train_images_used: Number of training images used for the last three statistics.
        scored: Number of images of the other split used for the accuracies.
    """

    classes: int
    images: int
    smallest_class: int
    knn_acc: float
    knn_balanced_acc: float
    separability: float
    train_images_used: int
    scored: int


def measure_predictors(train: Arrays, scored: Arrays, spec: DataSpec, seed: int = 0) -> DifficultyStats:
    """Measure all predictors on at most `TRAIN_IMAGES` training and `SCORED_IMAGES` scored images, sampled at random.

    Args:
        train: Training images ``(N, C, H, W)`` in pixel units, any dtype, and labels ``(N,)`` int64.
        scored: Images and labels of another split, in the same format.
        spec: Description of the data.
        seed: Seed for sampling the images.

    Returns:
        The statistics of the data set.
    """
    counts = np.bincount(train[1], minlength=spec.num_classes)
    x, y = flat(train, spec, TRAIN_IMAGES, seed)
    x_scored, y_scored = flat(scored, spec, SCORED_IMAGES, seed)
    acc, balanced_acc = knn_accuracy(x, y, x_scored, y_scored)
    return DifficultyStats(
        classes=spec.num_classes,
        images=len(train[1]),
        smallest_class=int(counts.min()),
        knn_acc=acc,
        knn_balanced_acc=balanced_acc,
        separability=separability(x, y),
        train_images_used=len(y),
        scored=len(y_scored),
    )


def flat(arrays: Arrays, spec: DataSpec, most: int, seed: int) -> tuple[Features, NDArray[np.int64]]:
    """Return normalised pixels ``(n, C * H * W)`` float32 and labels of at most ``most`` images, sampled at random.

    The number of large images is reduced further, so that their pixels are at most `MAX_ELEMENTS` values.

    Args:
        arrays: Images ``(N, C, H, W)`` in pixel units and labels ``(N,)``.
        spec: Description of the data with mean and standard deviation.
        most: Maximum number of images.
        seed: Seed for sampling the images.
    """
    images, labels = arrays
    rows, most = np.arange(len(labels)), min(most, max(1, MAX_ELEMENTS // int(np.prod(spec.shape))))
    if len(labels) > most:  # sorted, so that a memory-mapped array is read sequentially
        rows = np.sort(np.random.default_rng(seed).choice(len(labels), most, replace=False))
    mean, std = (np.asarray(v, np.float32)[:, None, None] for v in (spec.mean, spec.std))
    pixels = np.asarray(images[rows]).astype(np.float32)
    pixels = np.divide(np.subtract(pixels, mean, out=pixels), std, out=pixels)
    return pixels.reshape(len(rows), -1), labels[rows]


def knn_accuracy(
    train: Features, labels: NDArray[np.int64], scored: Features, truth: NDArray[np.int64], k: int = NEIGHBOURS
) -> tuple[float, float]:
    """Score a vote of the k nearest training images by Euclidean distance of pixels.

    Args:
        train: Features of the training images, ``(n, F)``.
        labels: Classes of the training images, ``(n,)``.
        scored: Features of images of another split, ``(m, F)``.
        truth: Classes of the scored images, ``(m,)``. A class without scored images is left out of the balanced
            accuracy.
        k: Number of neighbours; at most n are used.

    Returns:
        Accuracy and balanced accuracy, fractions.

    Raises:
        ValueError: If k is below one.
    """
    from sklearn.metrics import recall_score
    from sklearn.neighbors import KNeighborsClassifier

    if k < 1:
        raise ValueError(f"k={k}; a vote needs at least 1 neighbour")
    classifier = KNeighborsClassifier(min(k, len(train)), algorithm="brute").fit(train, labels)
    predictions = classifier.predict(scored)
    recall = recall_score(truth, predictions, labels=np.unique(truth), average="macro", zero_division=0.0)
    return float((predictions == truth).mean()), float(recall)


def separability(train: Features, labels: NDArray[np.int64], components: int = COMPONENTS) -> float:
    """Compute Fisher's ratio: scatter between classes over scatter within classes, after PCA without whitening.

    ``J = sum_c n_c |m_c - m|^2 / sum_c sum_{i in c} |z_i - m_c|^2`` on the first principal components z of all
    images. It is the Calinski-Harabasz index times ``(K - 1) / (n - K)``. ``J / (1 + J)`` is the fraction of the
    variance that the classes explain.

    Args:
        train: Features ``(n, F)``.
        labels: Class of each image, ``(n,)``.
        components: Number of principal components; at most n - 1 and F are used.

    Returns:
        The ratio. It is 0 if all class means are equal, infinite if the images of each class are equal, and NaN if all
        images are equal.

    Reference:
        Caliński, Harabasz: A dendrite method for cluster analysis, Communications in Statistics 3, 1974.
    """
    from sklearn.decomposition import PCA
    from sklearn.metrics import calinski_harabasz_score

    n, classes = len(train), np.unique(labels)
    if not np.ptp(train, axis=0).any():
        return float("nan")
    if len(classes) == 1:
        return 0.0
    if not any(np.ptp(train[labels == label], axis=0).any() for label in classes):
        return float("inf")
    pca = PCA(max(1, min(components, n - 1, train.shape[1])), random_state=0)
    z = pca.fit_transform(train.astype(np.float64))  # (n, D)
    return float(calinski_harabasz_score(z, labels)) * (len(classes) - 1) / (n - len(classes))
