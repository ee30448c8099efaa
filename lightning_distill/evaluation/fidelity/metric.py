"""`FidelityMetric`, the single definition of a metric of images, and the data that it is computed from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lightning_distill.evaluation.copies.search import CopySearch
from lightning_distill.spec import DataSpec

Features = NDArray[np.float32]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Sample:
    """Images of a set, of the reference, or of a random subset of the training images.

    Args:
        pixels: Decoded images ``(N, C, H, W)`` in pixel units.
        classes: Class of each image ``(N,)``; the number of its label combination for multi-label data.
        features: Features ``(N, F)`` of the feature network; ``(N, 0)`` where no metric uses them.
        formation: Number of sub-images along each side of a stored image.
    """

    pixels: Tensor
    classes: Rows
    features: Features
    formation: int = 1

    def __len__(self) -> int:
        return len(self.classes)


@dataclass(frozen=True)
class Comparison:
    """Reference of all sets of a table, and what metrics share.

    Args:
        reference: Real images of the validation or test split.
        spec: Description of the data.
        counts: Numbers of images of all sets of the table and of the random subsets beside them.
        draws: Number of random subsets.
        seed: Seed of subsets and pairs.
        search: Tau rule for the training images.
    """

    reference: Sample
    spec: DataSpec
    counts: tuple[int, ...]
    draws: int
    seed: int
    search: CopySearch


@dataclass(frozen=True)
class Column:
    """Column of a metric in tables and CSV files.

    Args:
        name: Name in CSV files.
        label: Name in tables; empty for a column that only CSV files have.
        decimals: Decimals in tables.
        higher_is_better: Direction of improvement; ``None`` for neither.
        beside_real: Whether random real images are measured too, as ``<name>_real`` and ``<name>_real_std``.
    """

    name: str
    label: str
    decimals: int = 3
    higher_is_better: bool | None = None
    beside_real: bool = True


@dataclass(frozen=True)
class FidelityMetric:
    """Definition of a metric. The measurement, CSV columns and tables read it.

    Args:
        name: Name by which it is chosen.
        columns: Columns of its values.
        compute: Function from a sample and the comparison to the value of each column.
        unresolvable: Function from a sample and the comparison to the reason why the metric cannot be resolved; empty
            where it can.
        uses_features: Whether it compares features; without such a metric no feature network is trained.
    """

    name: str
    columns: tuple[Column, ...]
    compute: Callable[[Sample, Comparison], Mapping[str, float]]
    unresolvable: Callable[[Sample, Comparison], str]
    uses_features: bool = True

    @property
    def beside_real(self) -> bool:
        """Whether random real images are measured too."""
        return any(column.beside_real for column in self.columns)


def too_few(sample: Sample, comparison: Comparison, least: int, why: str) -> str:
    """Return why a metric cannot be resolved, by the number of images of the sample and of the reference.

    Args:
        sample: Sample.
        comparison: Comparison with the reference.
        least: Least number of images of both.
        why: Reason for this number.
    """
    for count, name in ((len(sample), "images"), (len(comparison.reference), "reference images")):
        if count < least:
            return f"{count} {name}, it needs {least} ({why})"
    return ""
