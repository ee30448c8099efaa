"""What real images say of a data set's difficulty without training anything: neighbours and class separability."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightning_distill.spec import DataSpec

Arrays = tuple[NDArray[np.generic], NDArray[np.int64]]
Features = NDArray[np.float32]

#: Neighbours that vote.
NEIGHBOURS = 5
#: Principal components that separability is measured in.
COMPONENTS = 32
#: Real images looked at, at most: these numbers are to be cheap, and a few thousand images fix them to a point.
TRAIN_IMAGES, SCORED_IMAGES = 5000, 2000
#: Their normalised pixels, at most: 256 MiB.
MAX_ELEMENTS = 1 << 26


@dataclass(frozen=True)
class DifficultyStats:
    """Predictors that need no students.

    Args:
        classes: K.
        images: training images.
        smallest_class: training images of the smallest class.
        knn_acc: see `knn_accuracy`, a fraction.
        knn_balanced_acc: mean recall over the classes present.
        separability: see `separability`.
        seen: training images the last three come from.
        scored: images of the scored split they come from.
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
    """All of them at once, from at most `TRAIN_IMAGES` training and `SCORED_IMAGES` scored images, drawn at random.

    Args:
        train: images ``(N, C, H, W)`` in pixel units, any dtype, and labels ``(N,)`` int64.
        scored: the same of another split.
        spec: of the data.
        seed: of the draws.
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
    """Normalised pixels ``(n, C * H * W)`` float32 and labels of ``most`` images drawn at random, or of all.

    Of images so large that their pixels are more than `NUMBERS`, as few as are not.
    """
    images, labels = arrays
    rows, most = np.arange(len(labels)), min(most, max(1, MAX_ELEMENTS // int(np.prod(spec.shape))))
    if len(labels) > most:  # ordered, so that a memory-mapped array is read once through
        rows = np.sort(np.random.default_rng(seed).choice(len(labels), most, replace=False))
    mean, std = (np.asarray(v, np.float32)[:, None, None] for v in (spec.mean, spec.std))
    pixels = np.asarray(images[rows]).astype(np.float32)
    pixels = np.divide(np.subtract(pixels, mean, out=pixels), std, out=pixels)
    return pixels.reshape(len(rows), -1), labels[rows]


def knn_accuracy(
    train: Features, labels: NDArray[np.int64], scored: Features, truth: NDArray[np.int64], k: int = NEIGHBOURS
) -> tuple[float, float]:
    """Accuracy and balanced accuracy of a vote of the k nearest training images, Euclidean, in pixel space.

    Args:
        train: ``(n, F)``.
        labels: ``(n,)``.
        scored: ``(m, F)``, of another split.
        truth: ``(m,)``; a class absent from it has no recall and is left out of the balanced accuracy.
        k: neighbours; no more than there are training images.

    Raises:
        ValueError: k below one.
    """
    from sklearn.metrics import recall_score
    from sklearn.neighbors import KNeighborsClassifier

    if k < 1:
        raise ValueError(f"k={k}; a vote needs at least 1 neighbour")
    voters = KNeighborsClassifier(min(k, len(train)), algorithm="brute").fit(train, labels)
    said = voters.predict(scored)
    recall = recall_score(truth, said, labels=np.unique(truth), average="macro", zero_division=0.0)
    return float((said == truth).mean()), float(recall)


def separability(train: Features, labels: NDArray[np.int64], components: int = COMPONENTS) -> float:
    """Fisher's ratio: scatter between the classes over scatter within them, after PCA without whitening.

    ``J = sum_c n_c |m_c - m|^2 / sum_c sum_{i in c} |z_i - m_c|^2`` on the first principal components z of all
    images; ``J / (1 + J)`` is the share of their variance that the classes explain. 0 where all class means are equal;
    infinite where images of a class are all the same; NaN where all images are.

    Args:
        train: ``(n, F)``.
        labels: ``(n,)``.
        components: at most; no more than n - 1 and F.

    Reference:
        Caliński, Harabasz: A dendrite method for cluster analysis, Communications in Statistics 3, 1974, whose index
        is ``J (n - K) / (K - 1)``.
    """
    from sklearn.decomposition import PCA

    n = len(train)
    if not np.ptp(train, axis=0).any():
        return float("nan")
    pca = PCA(max(1, min(components, n - 1, train.shape[1])), random_state=0)
    z = pca.fit_transform(train.astype(np.float64))  # (n, D), centred: m = 0
    between = within = 0.0
    for label in np.unique(labels):
        own = z[labels == label]
        centre = own.mean(0)
        between += len(own) * float(centre @ centre)
        within += float(np.square(own - centre).sum())
    if within == 0.0:
        return float("inf")
    return between / within
