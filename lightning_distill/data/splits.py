"""Train, val and test together: do they fit each other, and how is a validation split carved out of train."""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split

from lightning_distill.data.layout import Array

Split = tuple[Array, NDArray[np.int64]]


class Rows:
    """Some rows of an array that stays where it is, e.g. memory-mapped; read when they are asked for."""

    def __init__(self, array: Array, rows: NDArray[np.int64]) -> None:
        self.array, self.rows = array, rows
        self.dtype, self.ndim, self.shape = array.dtype, array.ndim, (len(rows), *array.shape[1:])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: slice | NDArray[np.int64]) -> Array:
        return np.asarray(self.array[self.rows[index]])

    def __array__(self, dtype: np.dtype[np.generic] | None = None, copy: bool | None = None) -> Array:
        return np.asarray(self[:], dtype)


def take(images: Array, rows: NDArray[np.int64]) -> Array:
    """``images[rows]``, without reading a memory-mapped array."""
    return cast(Array, Rows(images, rows)) if isinstance(images, np.memmap) else images[rows]


def check_splits(splits: dict[str, Split], classes: int, names: tuple[str, ...]) -> None:
    """Refuse splits that do not belong together, and classes that train has no images of.

    Raises:
        ValueError: other sizes, dtypes or kinds of labels than train's, labels out of range, an empty class.
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
        if labels.ndim == 1 and other_labels.max() >= classes:
            raise ValueError(
                f"{split} has the label {other_labels.max()} but there are {classes} classes; labels are 0..K-1"
            )
    counts = np.bincount(labels, minlength=classes) if labels.ndim == 1 else np.ones(classes)
    if empty := [names[c] for c in np.flatnonzero(counts == 0)]:
        raise ValueError(f"no training images of the class {', '.join(map(repr, empty))}; drop it or add images")


def carve_out(split: Split, fraction: float, seed: int) -> tuple[Split, Split]:
    """Train without a validation split, and that split: stratified and seeded; a class's only image stays in train.

    Raises:
        ValueError: there are too few images to carve from.
    """
    images, labels = split
    rows = np.arange(len(labels))
    single = np.zeros(len(labels), bool)
    if labels.ndim == 1:
        single = np.bincount(labels)[labels] == 1
    free = rows[~single]
    try:
        _, val = train_test_split(
            free, test_size=fraction, random_state=seed, stratify=labels[free] if labels.ndim == 1 else None
        )
    except ValueError as error:
        raise ValueError(
            f"cannot carve val_fraction={fraction} out of {len(labels)} training images ({error}); "
            "raise val_fraction or give a validation split"
        ) from error
    val = np.sort(val)
    train = np.setdiff1d(rows, val)
    return (take(images, train), labels[train]), (take(images, val), labels[val])
