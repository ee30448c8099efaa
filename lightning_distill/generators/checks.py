"""Checks of trainer, data and targets of a generator."""

from __future__ import annotations

import numpy as np
import torch
from lightning import Trainer
from numpy.typing import NDArray
from torch import Tensor

from lightning_distill.data import ArrayDataModule
from lightning_distill.spec import DataSpec

#: Precisions of the Trainer that generators support.
PRECISIONS = ("32-true", "bf16-mixed")


def require_real_images(datamodule: object) -> ArrayDataModule:
    """Return the data module of a run if a generator can be trained on it.

    Args:
        datamodule: Data module of the Trainer, or None.

    Raises:
        TypeError: It is no `ArrayDataModule`.
        ValueError: It has no real images.
    """
    if not isinstance(datamodule, ArrayDataModule):
        kind = "no data module was passed" if datamodule is None else f"{type(datamodule).__name__} is none of them"
        raise TypeError(
            f"a generator needs a data module of lightning_distill; {kind}. Use fit(generator, datamodule=...), or "
            "BalancedDataModule(your_datamodule)"
        )
    if not datamodule.has_images:
        raise ValueError(f"{type(datamodule).__name__} has no real images to train a generator on; use the real data")
    return datamodule


def validate_trainer(trainer: Trainer) -> None:
    """Raise ValueError for a precision or a number of devices that generators do not support.

    Args:
        trainer: Trainer of the run.
    """
    if trainer.world_size > 1:
        raise ValueError(f"{trainer.world_size} devices: a generator trains on one; use Trainer(devices=1)")
    if str(trainer.precision) not in PRECISIONS:
        raise ValueError(f"precision={trainer.precision}: generators train in {' or '.join(PRECISIONS)}; use one")


def validate_classes(spec: DataSpec, labels: NDArray[np.int64]) -> None:
    """Raise ValueError for a class, or label of multi-label data, without training images.

    Args:
        spec: Specification of the data.
        labels: Labels ``(N,)``, or 0/1 targets ``(N, K)``, of all training images.
    """
    counts = labels.sum(0) if labels.ndim == 2 else np.bincount(labels, minlength=spec.num_classes)
    if missing := [name for name, count in zip(spec.class_names, counts, strict=True) if not count]:
        raise ValueError(
            f"class {missing[0]!r} has no training images, so a generator cannot learn it; leave the class out, or add "
            "images of it"
        )


def as_rows(targets: Tensor, spec: DataSpec) -> Tensor:
    """Return targets as rows of numbers, one column a class.

    Args:
        targets: Class numbers ``(N,)`` or one- or multi-hot rows ``(N, K)``.
        spec: Specification of the data.

    Returns:
        Rows ``(N, K)`` float32.

    Raises:
        ValueError: The rows have another number of columns, or a class number does not exist.
    """
    if targets.ndim == 1 and not spec.multi_label:
        if len(targets) and not 0 <= int(targets.min()) <= int(targets.max()) < spec.num_classes:
            raise ValueError(
                f"class numbers from {targets.min()} to {targets.max()}; {spec.name} has {spec.num_classes}"
            )
        return torch.nn.functional.one_hot(targets.long(), spec.num_classes).float()
    if targets.ndim != 2 or targets.shape[1] != spec.num_classes:
        raise ValueError(
            f"targets have the shape {tuple(targets.shape)}; a generator of {spec.name} takes (N, {spec.num_classes})"
        )
    return targets.float()


def with_indicator(rows: Tensor, indicator: Tensor) -> Tensor:
    """Append a column to label rows.

    Args:
        rows: Rows ``(N, K)``.
        indicator: Values ``(N,)`` of the new column.
    """
    return torch.cat([rows, indicator.to(rows)[:, None]], 1)
