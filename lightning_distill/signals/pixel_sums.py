"""Pixel sums of several sites: a first round in which they agree on one mean and standard deviation."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch

from lightning_distill.data import ArrayDataModule
from lightning_distill.sets.storage import check_file_writable
from lightning_distill.signals.sums import class_chunks
from lightning_distill.spec import DataSpec
from lightning_distill.utils.atomic_files import write_files_atomically


@dataclass(frozen=True)
class PixelSums:
    """Number, sum and sum of squares of the pixels of each channel; sums of sites add up.

    Args:
        pixels: Number of pixels of one channel.
        total: Sum of the pixels of each channel, in pixel units.
        squares: Sum of the squared pixels of each channel.

    Example:
        >>> both = PixelSums(2, (4.0,), (10.0,)) + PixelSums(2, (4.0,), (10.0,))
        >>> both.mean, both.std
        ((2.0,), (1.0,))
    """

    pixels: int
    total: tuple[float, ...]
    squares: tuple[float, ...]

    @classmethod
    def compute(cls, datamodule: ArrayDataModule) -> PixelSums:
        """Return the sums over the training images of a data module."""
        spec = replace(datamodule.spec, mean=(0.0,) * datamodule.spec.shape[0], std=(1.0,) * datamodule.spec.shape[0])
        pixels, total, squares = 0, torch.zeros(spec.shape[0]).double(), torch.zeros(spec.shape[0]).double()
        for chunk in class_chunks(*datamodule.train_arrays(), spec):
            values = chunk.images.double()
            pixels += values[:, 0].numel()
            total += values.sum((0, 2, 3))
            squares += values.square().sum((0, 2, 3))
        return cls(pixels, tuple(total.tolist()), tuple(squares.tolist()))

    def __add__(self, other: PixelSums) -> PixelSums:
        """Return the sums over both data sets."""
        if len(self.total) != len(other.total):
            raise ValueError(f"images of {len(self.total)} and of {len(other.total)} channels have no common mean")
        add = [
            tuple(a + b for a, b in zip(*pair, strict=True))
            for pair in ((self.total, other.total), (self.squares, other.squares))
        ]
        return PixelSums(self.pixels + other.pixels, *add)

    @property
    def mean(self) -> tuple[float, ...]:
        """Mean of each channel in pixel units."""
        return tuple(total / self.pixels for total in self.total)

    @property
    def std(self) -> tuple[float, ...]:
        """Standard deviation of each channel in pixel units."""
        return tuple(
            math.sqrt(max(0.0, square / self.pixels - mean**2))
            for square, mean in zip(self.squares, self.mean, strict=True)
        )

    def write(self, path: str | os.PathLike[str]) -> Path:
        """Write the sums to a JSON file."""
        check_file_writable(path)
        write_files_atomically({Path(path): json.dumps(asdict(self)).encode()})
        return Path(path)

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> PixelSums:
        """Read the sums of a site.

        Raises:
            FileNotFoundError: There is no such file.
            ValueError: The file holds no pixel sums.
        """
        if not Path(path).is_file():
            raise FileNotFoundError(
                f"{path} does not exist; give files of `lightning-distill signals --pixel_sums true`"
            )
        try:
            content = json.loads(Path(path).read_text())
            sums = cls(int(content["pixels"]), *(tuple(map(float, content[name])) for name in ("total", "squares")))
            if sums.pixels < 1 or not all(map(math.isfinite, sums.total + sums.squares)):
                raise ValueError("no pixels, or sums that are not finite")
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise ValueError(f"{Path(path).name} holds no pixel sums: {error}; write it again") from error
        return sums


def with_statistics(spec: DataSpec, mean: Sequence[float] | None, std: Sequence[float] | None) -> DataSpec:
    """Return a description with another mean and standard deviation.

    Args:
        spec: Description of the data.
        mean: Mean of each channel in pixel units; ``None`` keeps it.
        std: Standard deviation of each channel in pixel units; ``None`` keeps it.

    Raises:
        ValueError: Only one of both is given, or they do not fit the channels.
    """
    if mean is None and std is None:
        return spec
    if mean is None or std is None:
        raise ValueError("mean and std belong together; give both, or none of them")
    for name, values in (("mean", mean), ("std", std)):
        if len(values) != spec.shape[0]:
            raise ValueError(f"{name}={list(values)}; images of {spec.name} have {spec.shape[0]} channels")
    return replace(spec, mean=tuple(map(float, mean)), std=tuple(map(float, std)))
