"""Which slices of a volume become images, by a rule that cards can name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from lightning_distill.data.checks.arrays import Array

Slices = Literal["centre", "brightest", "foreground"]
VolumeAxis = Literal[0, 1, 2]


@dataclass(frozen=True)
class SliceRule:
    """A way to choose slices of a volume that looks at this volume alone, and at no label.

    Args:
        slices: ``centre``: those around the middle. ``brightest``: the one with the greatest sum of grey values.
            ``foreground``: the one with the most voxels above ``above``.
        axis: of a volume's array, counted from 0; slices stand at right angles to it.
        count: slices of a volume, for ``centre``.
        step: voxels from one of them to the next.
        above: grey value that foreground is above.

    Raises:
        ValueError: an unknown rule or axis, a count or step below 1, several slices of a rule that chooses one.
    """

    slices: Slices = "centre"
    axis: VolumeAxis = 0
    count: int = 1
    step: int = 1
    above: int = 0

    def __post_init__(self) -> None:
        if self.slices not in get_args(Slices):
            raise ValueError(f"unknown slices={self.slices!r}; use one of {', '.join(get_args(Slices))}")
        if self.axis not in get_args(VolumeAxis):
            raise ValueError(f"axis={self.axis}; a volume's array has the axes 0, 1 and 2")
        for key in ("count", "step"):
            if (number := getattr(self, key)) < 1:
                raise ValueError(f"{key}={number}; it must be at least 1")
        if self.count > 1 and self.slices != "centre":
            raise ValueError(f"count={self.count} with slices={self.slices!r}, which is one; use slices='centre'")

    def __str__(self) -> str:
        where = f"along axis {self.axis} of 3D volumes"
        if self.slices == "brightest":
            return f"slice with the greatest sum of grey values {where}"
        if self.slices == "foreground":
            return f"slice with the most voxels above {self.above} {where}"
        if self.count == 1:
            return f"centre slice {where}"
        return f"{self.count} slices {where}, {self.step} voxel{'s' * (self.step != 1)} apart around the centre"

    def check(self, edge: int) -> None:
        """Refuse volumes of so many slices that they do not hold those asked for.

        Raises:
            ValueError: more slices than there are.
        """
        if (span := (self.count - 1) * self.step + 1) > edge:
            raise ValueError(
                f"count={self.count} slices {self.step} apart span {span} voxels, a volume has {edge}; "
                "lower count or step"
            )

    def places(self, volume: Array) -> list[int]:
        """Numbers of the chosen slices of a volume ``(slices, H, W)``, whose first axis is the one that is cut."""
        if self.slices == "brightest":
            return [largest(volume.sum((1, 2), dtype=np.float64))]
        if self.slices == "foreground":
            return [largest(np.greater(volume, self.above).sum((1, 2)))]
        first = (len(volume) - (self.count - 1) * self.step) // 2
        return [first + number * self.step for number in range(self.count)]

    def cut(self, volumes: Array) -> Array:
        """The chosen slices of each volume, the volumes one after the other.

        Args:
            volumes: ``(N, A, B, C)``, also mapped from disk: only one volume is looked at at a time.

        Returns:
            ``(N * count, H, W)`` of the same dtype, a copy; the other two axes stay in their order.

        Raises:
            ValueError: not volumes, or fewer slices than asked for.
        """
        if volumes.ndim != 4:
            raise ValueError(f"volumes have the shape {volumes.shape}; give (N, A, B, C)")
        self.check(volumes.shape[1 + self.axis])
        turned = np.moveaxis(volumes, 1 + self.axis, 1)  # (N, slices, H, W)
        images = np.empty((len(volumes), self.count, *turned.shape[2:]), volumes.dtype)
        for number, volume in enumerate(turned):
            images[number] = volume[self.places(volume)]
        return images.reshape(-1, *turned.shape[2:])


def largest(values: Sequence[float] | NDArray[np.number]) -> int:
    """The place of the largest number; of equal ones the one nearest to the middle, of two as near the first.

    >>> largest([0, 0, 0, 0, 0]), largest([1, 9, 2, 9, 0]), largest([3, 3, 1, 1])
    (2, 1, 1)
    """
    numbers = np.asarray(values)
    best = np.flatnonzero(numbers == numbers.max())
    return int(best[np.abs(best - len(numbers) // 2).argmin()])
