"""Line that describes a set: number of images, classes, shape, method and start."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from lightning_distill.sets.arrays import Card
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.spec import DataSpec


def set_summary(data: LabeledSet, card: Card | None = None) -> str:
    """Describe a stored set in one line.

    Args:
        data: Set as it is stored.
        card: Card of the set, if there is one: method and start are appended.
    """
    counts = torch.bincount(data.labels, minlength=len(data.spec.balance_groups)).tolist()
    parts = [describe_counts(counts, data.spec, data.formation)]
    if data.soft_labels is not None:
        parts.append("soft labels")
    method, start = (card or {}).get("method"), (card or {}).get("start")
    parts += [method] if isinstance(method, str) else []
    parts += [f"started from {start}"] if isinstance(start, str) else []
    return ", ".join(parts)


def describe_counts(counts: Sequence[int], spec: DataSpec, formation: int = 1) -> str:
    """Describe numbers of stored images per class and their shape.

    Args:
        counts: Number of stored images of each group.
        spec: Shape and classes.
        formation: Number of sub-images along each side of an image.

    Example:
        >>> spec = DataSpec("demo", (1, 8, 8), ("a", "b"), mean=(0.0,), std=(1.0,))
        >>> describe_counts([10, 10], spec), describe_counts([3, 1], spec, 2)
        ('20 images, 2 classes x 10, 1x8x8', '4 images of 2 x 2 sub-images, 2 classes: 3, 1, 1x8x8')
    """
    kind = "label combinations" if spec.multi_label else "classes"
    equal = f"{len(counts)} {kind} x {counts[0]}" if len(set(counts)) == 1 else f"{len(counts)} {kind}: {_few(counts)}"
    cells = f" of {formation} x {formation} sub-images" if formation > 1 else ""
    return f"{sum(counts):,} images{cells}, {equal}, {'x'.join(map(str, spec.shape))}"


def _few(counts: Sequence[int], most: int = 8) -> str:
    shown = ", ".join(map(str, counts[:most]))
    return shown if len(counts) <= most else f"{shown}, ..."
