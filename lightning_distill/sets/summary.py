"""One line that describes a set: number of images, classes, shape, method and start."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from lightning_distill.spec import DataSpec

#: Largest number of classes with unequal numbers of images that are listed.
LISTED = 8


def describe_set(labels: Tensor, spec: DataSpec, formation: int = 1, card: Mapping[str, object] | None = None) -> str:
    """Describe the stored images of a set.

    Args:
        labels: Indices ``(N,)`` of the stored images into `DataSpec.balance_groups`.
        spec: Shape and classes.
        formation: Number of sub-images along each side of an image.
        card: Card of the set, or a part of it: ``method`` and ``start`` are appended.

    Example:
        >>> import torch
        >>> spec = DataSpec("demo", (1, 8, 8), ("a", "b"), mean=(0.0,), std=(1.0,))
        >>> describe_set(torch.tensor([0, 0, 1, 1]), spec, card={"start": "real"})
        '4 images, 2 classes x 2, 1x8x8, started from real'
        >>> describe_set(torch.tensor([0, 0, 0, 1]), spec, 2)
        '4 images of 2 x 2 sub-images, 2 classes: 3, 1, 1x8x8'
    """
    counts = labels.bincount(minlength=len(spec.balance_groups)).tolist()
    kind = "label combinations" if spec.multi_label else "classes"
    equal = f" x {counts[0]}" if len(set(counts)) == 1 else f": {_few(counts)}"
    cells = f" of {formation} x {formation} sub-images" if formation > 1 else ""
    text = f"{sum(counts):,} images{cells}, {len(counts)} {kind}{equal}, {'x'.join(map(str, spec.shape))}"
    method, start = ((card or {}).get(name) for name in ("method", "start"))
    parts = [text, method, f"started from {start}" if isinstance(start, str) else None]
    return ", ".join(part for part in parts if isinstance(part, str))


def _few(counts: Sequence[int]) -> str:
    shown = ", ".join(map(str, counts[:LISTED]))
    return shown if len(counts) <= LISTED else f"{shown}, ..."
