"""Train, val and test together: do they fit each other, and how is a validation split carved out of train."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import GroupShuffleSplit, StratifiedGroupKFold, train_test_split

from lightning_distill.data.checks.arrays import Array
from lightning_distill.data.checks.groups import PATIENT

Split = tuple[Array, NDArray[np.int64]]


@dataclass(frozen=True)
class RawSplits:
    """Data as they were given: each split checked by itself, nothing carved out, left out or held against another.

    Args:
        name: of the data set.
        source: where the bytes come from.
        class_names: one a class, or ``None`` where classes have numbers only.
        splits: images ``(N, C, H, W)`` and labels ``(N,)`` or ``(N, L)``.
        groups: of some splits or of none, ``(N,)``: one number for the images of one patient, in every split the same.
        group_kind: what a group is: ``patient or lesion``, or the ``volume`` or ``file`` that images were cut from.
    """

    name: str
    source: str
    class_names: tuple[str, ...] | None
    splits: dict[str, Split]
    groups: dict[str, NDArray[np.int64]]
    group_kind: str = PATIENT


def check_alike(splits: dict[str, Split]) -> None:
    """Refuse splits that do not belong together.

    Raises:
        ValueError: other sizes, dtypes or kinds of labels than train's.
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


def check_splits(splits: dict[str, Split], classes: int, names: tuple[str, ...]) -> None:
    """Refuse splits that do not belong together, labels that no class has, and classes that train has no images of.

    Raises:
        ValueError: other sizes, dtypes or kinds of labels than train's, labels out of range, an empty class.
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
        raise ValueError(f"no training images of the class {', '.join(map(repr, empty))}; drop it or add images")


def carve_out(
    labels: NDArray[np.int64], fraction: float, seed: int, groups: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows that stay in train, and those of a validation split: stratified and seeded.

    A class's only image stays in train. With groups, no group is in both, the share is as near to ``fraction`` as one
    of ``round(1 / fraction)`` folds comes (scikit-learn's StratifiedGroupKFold), and a class's only group stays in
    train; targets of several classes at once are not stratified.

    Args:
        labels: ``(N,)``, or 0/1 targets ``(N, L)``.
        fraction: of the images that goes to validation.
        seed: of the draw.
        groups: ``(N,)``, one number for the images of one patient or lesion.

    Raises:
        ValueError: there are too few images, or groups, to carve from.
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
            f"cannot carve val_fraction={fraction} out of {len(labels)} training images{there} ({error}); "
            "raise val_fraction or give a validation split"
        ) from error
    val = np.sort(val)
    return np.setdiff1d(rows, val), val


def _alone(labels: NDArray[np.int64], groups: NDArray[np.int64] | None) -> NDArray[np.bool_]:
    """Images that must stay in train: the only one of their class, or of a group that is the only one of a class."""
    if labels.ndim != 1:
        return np.zeros(len(labels), bool)
    units = np.arange(len(labels)) if groups is None else groups
    pairs = np.unique(np.stack([labels, units], 1), axis=0)  # every class with every unit that has it
    single = np.bincount(pairs[:, 0])[pairs[:, 0]] == 1
    alone: NDArray[np.bool_] = np.isin(units, pairs[single, 1])
    return alone


def _fold(labels: NDArray[np.int64], groups: NDArray[np.int64], fraction: float, seed: int) -> NDArray[np.int64]:
    """The validation rows of a split by groups that leaves every class in train.

    Raises:
        ValueError: there is none.
    """
    if not 0 < fraction < 1:
        raise ValueError("the share must lie between 0 and 1")
    if labels.ndim == 2:
        drawn = GroupShuffleSplit(1, test_size=fraction, random_state=seed).split(labels, groups=groups)
        return np.asarray(next(drawn)[1], np.int64)
    folds = StratifiedGroupKFold(max(2, round(1 / fraction)), shuffle=True, random_state=seed)
    there = np.unique(labels)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of classes with fewer images than folds: looked at below
        for train, val in folds.split(labels, labels, groups):
            if len(val) and np.array_equal(np.unique(labels[train]), there):
                return np.asarray(val, np.int64)
    raise ValueError("each part of them holds all groups of some class")
