"""Rows of labels and soft labels of an export as text, and back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lightning_distill.sets.arrays import Arrays
from lightning_distill.sets.export.record import PreparedSet


def label_texts(prepared: PreparedSet) -> list[str]:
    """Return the class name of each image; names joined by ``|`` for multi-label images."""
    names, labels = prepared.spec.class_names, prepared.arrays["labels"]
    if labels.ndim == 1:
        return [names[label] for label in labels.tolist()]
    return ["|".join(name for name, has in zip(names, row, strict=True) if has) for row in labels.tolist()]


def soft_label_rows(prepared: PreparedSet) -> NDArray[np.float32] | None:
    """Return the soft labels ``(N, f * f * K)`` of each exported image, or None.

    An image with sub-images has the probabilities of all of them, one after the other.
    """
    soft = prepared.arrays.get("soft_labels")
    return None if soft is None else soft.reshape(len(prepared.codes), -1).astype(np.float32)


def parse_soft_labels(rows: Sequence[Sequence[object]], classes: int) -> Arrays:
    """Return the array ``soft_labels`` from the rows of an export; empty where they have no numbers.

    Args:
        rows: Numbers of each image, as numbers or as text.
        classes: Number of classes K.

    Raises:
        ValueError: Rows of unequal length, or values that are no numbers.
    """
    if not any(len(row) for row in rows):
        return {}
    return {"soft_labels": np.array([[float(cell) for cell in row] for row in rows], np.float32).reshape(-1, classes)}  # type: ignore[arg-type]
