"""Validate the splits against each other, select their rows, and split a validation set off train."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GroupShuffleSplit, StratifiedGroupKFold, train_test_split

from lightning_distill.data.checks.arrays import Array
from lightning_distill.data.checks.groups import PATIENT
from lightning_distill.utils.lazy_arrays import take

Split = tuple[Array, NDArray[np.int64]]


@dataclass(frozen=True)
class RawSplits:
    """Splits as loaded: each array is validated, but no validation set is split off and no image is removed.

    Args:
        name: Name of the data set.
        source: Origin of the data.
        class_names: Names of the classes; ``None`` if classes have numbers only.
        splits: Images ``(N, C, H, W)`` and labels ``(N,)`` or ``(N, L)`` by split.
        groups: Group numbers ``(N,)`` by split, equal for images of one patient in all splits; splits may be missing.
        group_kind: Kind of a group: ``patient or lesion``, or the ``volume`` or ``file`` that contains the images.
        advice: Hint of the data module on files that are not read, e.g. a table of labels; empty for none.
    """

    name: str
    source: str
    class_names: tuple[str, ...] | None
    splits: dict[str, Split]
    groups: dict[str, NDArray[np.int64]]
    group_kind: str = PATIENT
    advice: str = ""


def check_alike(splits: Mapping[str, Split]) -> None:
    """Validate that all splits have the image size, pixel scale and kind of labels of train.

    Raises:
        ValueError: The size, pixel scale or kind of labels of a split differs.
    """
    images, labels = splits["train"]
    for split, (other_images, other_labels) in splits.items():
        if other_images.shape[1:] != images.shape[1:]:
            raise ValueError(
                f"{split} images are {other_images.shape[1:]} but train images {images.shape[1:]} (C, H, W); "
                "resize them to one size"
            )
        if (other_images.dtype == np.uint8) != (images.dtype == np.uint8):
            raise ValueError(
                f"{split} images are {other_images.dtype} but train images {images.dtype}; "
                "give all splits one pixel scale"
            )
        if other_labels.shape[1:] != labels.shape[1:]:
            raise ValueError(
                f"{split} labels have the shape {other_labels.shape} but train labels {labels.shape}; "
                "give every split the same kind of labels"
            )


def check_splits(splits: Mapping[str, Split], classes: int, names: tuple[str, ...]) -> None:
    """Validate the splits against each other and against the classes.

    Args:
        splits: Images and labels by split.
        classes: Number of classes.
        names: Names of the classes.

    Raises:
        ValueError: The size, pixel scale or kind of labels of a split differs from train, a label is out of range, or
            a class has no training images.
    """
    check_alike(splits)
    labels = splits["train"][1]
    for split, (_, other_labels) in splits.items():
        if labels.ndim == 1 and other_labels.max() >= classes:
            raise ValueError(
                f"{split} has the label {other_labels.max()} but there are {classes} classes; labels are 0..K-1"
            )
    counts = np.bincount(labels, minlength=classes) if labels.ndim == 1 else np.ones(classes)
    if empty := [names[c] for c in np.flatnonzero(counts == 0)]:
        numbers = ", ".join(map(str, np.unique(labels)[:10]))
        raise ValueError(
            f"no training images of the class {', '.join(map(repr, empty))}; drop it or add images; labels are 0 to "
            f"{classes - 1}, those of these images {numbers}"
        )


def select_rows(
    splits: dict[str, Split], groups: dict[str, NDArray[np.int64]], split: str, source: str, rows: NDArray[np.int64]
) -> None:
    """Set a split to rows of another split, or reduce it to some of its own rows.

    Args:
        splits: Images and labels by split; changed in place.
        groups: Group numbers ``(N,)`` by split, where groups are known; changed in place.
        split: Name of the split that is set.
        source: Name of the split that the rows are taken from, which may be the same one.
        rows: Row numbers.
    """
    images, labels = splits[source]
    splits[split] = take(images, rows), labels[rows]
    if source in groups:
        groups[split] = groups[source][rows]


def carve_out(
    labels: NDArray[np.int64],
    fraction: float,
    seed: int,
    groups: NDArray[np.int64] | None = None,
    name: str = "val_fraction",
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split a validation or test set off train, stratified and seeded.

    The only image of a class stays in train. With groups, whole groups are split by one of ``round(1 / fraction)``
    folds of scikit-learn's StratifiedGroupKFold, and the only group of a class stays in train. Multi-label targets
    are not stratified.

    Args:
        labels: Labels ``(N,)`` or 0/1 targets ``(N, L)``.
        fraction: Fraction of the images in the new split.
        seed: Seed of the random split.
        groups: Group number of each image ``(N,)``; ``None`` splits single images.
        name: Argument of the fraction, for error messages: ``val_fraction`` or ``test_fraction``.

    Returns:
        Rows of train and rows of the new split, both sorted.

    Raises:
        ValueError: There are too few images or groups.
    """
    rows = np.arange(len(labels))
    free = rows[~_alone(labels, groups)]
    try:
        if groups is not None:
            val = free[_fold(labels[free], groups[free], fraction, seed)]
        else:
            _, val = train_test_split(
                free, test_size=fraction, random_state=seed, stratify=labels[free] if labels.ndim == 1 else None
            )
    except ValueError as error:
        there = "" if groups is None else f" of {len(np.unique(groups))} groups"
        raise ValueError(
            f"cannot carve {name}={fraction} out of {len(labels)} training images{there} ({error}); "
            f"raise {name} or give a {'validation' if name == 'val_fraction' else 'test'} split"
        ) from error
    val = np.sort(val)
    return np.setdiff1d(rows, val), val


def _alone(labels: NDArray[np.int64], groups: NDArray[np.int64] | None) -> NDArray[np.bool_]:
    """Return a mask of the images that must stay in train: the only image or group of a class."""
    if labels.ndim != 1:
        return np.zeros(len(labels), bool)
    units = np.arange(len(labels)) if groups is None else groups
    pairs = np.unique(np.stack([labels, units], 1), axis=0)  # pairs of class and unit
    single = np.bincount(pairs[:, 0])[pairs[:, 0]] == 1
    alone: NDArray[np.bool_] = np.isin(units, pairs[single, 1])
    return alone


def _fold(labels: NDArray[np.int64], groups: NDArray[np.int64], fraction: float, seed: int) -> NDArray[np.int64]:
    """Return the validation rows of a group split that leaves every class in train.

    Raises:
        ValueError: No such split exists.
    """
    if not 0 < fraction < 1:
        raise ValueError("the share must lie between 0 and 1")
    if labels.ndim == 2:
        drawn = GroupShuffleSplit(1, test_size=fraction, random_state=seed).split(labels, groups=groups)
        return np.asarray(next(drawn)[1], np.int64)
    folds = StratifiedGroupKFold(max(2, round(1 / fraction)), shuffle=True, random_state=seed)
    there = np.unique(labels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # classes with fewer images than folds are checked below
        for train, val in folds.split(labels, labels, groups):
            if len(val) and np.array_equal(np.unique(labels[train]), there):
                return np.asarray(val, np.int64)
    raise ValueError("each part of them holds all groups of some class")
