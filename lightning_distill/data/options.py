"""``DataOptions``: keyword arguments that data modules pass on to `ArrayDataModule`."""

from __future__ import annotations

from typing import TypedDict

from lightning_distill.data.checks.arrays import Channels
from lightning_distill.data.checks.groups import OnOverlap


class DataOptions(TypedDict, total=False):
    """Keyword arguments of `ArrayDataModule` that its subclasses pass on.

    Subclasses that are built from the command line repeat those that they take in their constructors: jsonargparse
    reads neither defaults nor, before version 4.49, the types of an unpacked ``TypedDict``, and ``--help`` would lack
    them.
    """

    channels: Channels
    val_fraction: float
    real_per_class: int
    batch_size: int
    steps_per_epoch: int | None
    min_combination: int | None
    combinations_as_classes: bool
    seed: int
    on_overlap: OnOverlap
