"""``SliceRule``: selection of the slices of a volume that become images."""

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
    """Rule that selects slices of a volume from its voxels alone, without labels. Its text is shown in cards.

    Args:
        slices: Name of the rule. ``centre``: slices around the middle. ``brightest``: the slice with the largest sum of
            gray values. ``foreground``: the slice with the most voxels above ``above``.
        axis: Array axis of the volume (0, 1 or 2) that is perpendicular to the slices.
        count: Number of slices of each volume, for ``centre``.
        step: Distance between neighboring slices in voxels, for ``centre``.
        above: Gray value above which a voxel is foreground.

    Raises:
        ValueError: If the rule or axis is unknown, ``count`` or ``step`` is below 1, or ``count`` is above 1 for a rule
            that selects one slice.

    Example:
        >>> print(SliceRule(count=3, step=4))
        3 slices along axis 0 of 3D volumes, 4 voxels apart around the centre
        >>> SliceRule().select(np.zeros((2, 9, 16, 16), np.uint8)).shape
        (2, 16, 16)
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
            raise ValueError(f"axis={self.axis}; the array of a volume has the axes 0, 1 and 2")
        for key in ("count", "step"):
            if (number := getattr(self, key)) < 1:
                raise ValueError(f"{key}={number}; it must be at least 1")
        if self.count > 1 and self.slices != "centre":
            raise ValueError(f"count={self.count} with slices={self.slices!r}, which selects one; use slices='centre'")

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
        """Raise ValueError if a volume has too few slices for ``count`` and ``step``.

        Args:
            edge: Number of slices in a volume along ``axis``.

        Raises:
            ValueError: If the requested slices span more than ``edge`` voxels.
        """
        if (span := (self.count - 1) * self.step + 1) > edge:
            raise ValueError(
                f"count={self.count} slices {self.step} apart span {span} voxels, a volume has {edge}; "
                "lower count or step"
            )

    def indices(self, volume: Array) -> list[int]:
        """Numbers of the selected slices.

        Args:
            volume: Volume ``(slices, H, W)`` with the sliced axis first.

        Returns:
            Indices ``(count,)`` on the first axis.
        """
        if self.slices == "brightest":
            return [argmax_near_middle(volume.sum((1, 2), dtype=np.float64))]
        if self.slices == "foreground":
            return [argmax_near_middle(np.greater(volume, self.above).sum((1, 2)))]
        first = (len(volume) - (self.count - 1) * self.step) // 2
        return [first + number * self.step for number in range(self.count)]

    def select(self, volumes: Array) -> Array:
        """Copy the selected slices of each volume, in the order of the volumes.

        Args:
            volumes: Volumes ``(N, A, B, C)``, in memory or memory-mapped: they are read one at a time.

        Returns:
            Slices ``(N * count, H, W)`` in the dtype of the volumes; the other two axes keep their order.

        Raises:
            ValueError: If the array is not 4-dimensional, or a volume has too few slices.
        """
        if volumes.ndim != 4:
            raise ValueError(f"volumes have shape {volumes.shape}; expected (N, A, B, C)")
        self.check(volumes.shape[1 + self.axis])
        stacks = np.moveaxis(volumes, 1 + self.axis, 1)  # (N, slices, H, W)
        images = np.empty((len(volumes), self.count, *stacks.shape[2:]), volumes.dtype)
        for number, stack in enumerate(stacks):
            images[number] = stack[self.indices(stack)]
        return images.reshape(-1, *stacks.shape[2:])


def argmax_near_middle(values: Sequence[float] | NDArray[np.number]) -> int:
    """Index of the maximum; ties are resolved towards the middle, then towards the start.

    Args:
        values: Numbers ``(N,)``.

    Returns:
        Index from 0 to N - 1.

    Example:
        >>> argmax_near_middle([0, 0, 0, 0, 0]), argmax_near_middle([1, 9, 2, 9, 0]), argmax_near_middle([3, 3, 1, 1])
        (2, 1, 1)
    """
    numbers = np.asarray(values)
    maxima = np.flatnonzero(numbers == numbers.max())
    return int(maxima[np.abs(maxima - len(numbers) // 2).argmin()])
