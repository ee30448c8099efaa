"""Labels of a loader in the form that the students' metrics take."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_distill.spec import DataSpec


def class_labels(labels: Tensor, spec: DataSpec, split: str) -> Tensor:
    """Return labels ``(B,)`` int64, or 0/1 targets ``(B, L)`` int64 of multi-label data.

    Args:
        labels: Labels ``(B,)`` or ``(B, 1)``, or targets ``(B, L)``, integers or floats with integer values.
        spec: Task and classes of the set.
        split: Name of the split in error messages.

    Raises:
        ValueError: The labels have another shape or other values than those of the set.

    Example:
        >>> spec = DataSpec("demo", (1, 8, 8), ("a", "b"), mean=(0.0,), std=(1.0,))
        >>> class_labels(torch.tensor([[0.0], [1.0]]), spec, "val")
        tensor([0, 1])
    """
    shape, classes = tuple(labels.shape), spec.num_classes
    source = f"the {split} loader's labels"
    if spec.multi_label:
        if labels.ndim != 2 or shape[1] != classes:
            raise ValueError(f"{source} have the shape {shape}, the set's (N, {classes}); give 0/1 targets")
        top = 1
    else:
        if labels.ndim > 2 or (labels.ndim == 2 and shape[1] != 1):
            raise ValueError(
                f"{source} have the shape {shape}, the set has single labels (N,); of one-hot labels use "
                "batch_transform=lambda batch: (batch[0], batch[1].argmax(1)), else a set with 0/1 targets (N, L)"
            )
        labels, top = labels.flatten(), classes - 1
    whole = labels.long()
    if labels.is_floating_point() and not torch.equal(whole.to(labels.dtype), labels):
        raise ValueError(f"{source} are no integers ({float(labels.flatten()[0]):g}); give class numbers")
    if whole.numel() and not 0 <= int(whole.min()) <= int(whole.max()) <= top:
        raise ValueError(f"{source} go from {int(whole.min())} to {int(whole.max())}, the set's from 0 to {top}")
    return whole
