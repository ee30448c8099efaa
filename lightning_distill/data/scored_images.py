"""``ScoredImages``: the test images of a data set alone, for a receiver of a set who has no training images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from lightning.pytorch.utilities import rank_zero_warn
from numpy.typing import NDArray
from torch import Tensor

from lightning_distill.data.checks.splits import RawSplits, Split
from lightning_distill.data.loaders import SequentialLoader
from lightning_distill.spec import DataSpec


@dataclass(frozen=True)
class ScoredImages:
    """Test images that students are scored on, without training and validation images.

    Args:
        spec: Shape, classes and pixel range of the test images.
        images: Images ``(N, C, H, W)`` and labels ``(N,)``.
        batch_size: Number of images in a batch.
        groups: Group numbers of the images as ``{"test": (N,)}``; empty where groups are unknown.
        reproducible_args: Constructor arguments of the data module, for the recorded command.
    """

    spec: DataSpec
    images: Split
    batch_size: int
    groups: Mapping[str, NDArray[np.int64]] = field(default_factory=dict)
    reproducible_args: Mapping[str, object] = field(default_factory=dict)

    def train_arrays(self) -> Split:
        """Raise a ValueError: there are no training images."""
        raise ValueError(f"{self.spec.name} is given as test images alone; give the real training data with --data")

    def all_train_arrays(self) -> Split:
        """Raise a ValueError: there are no training images."""
        return self.train_arrays()

    def test_images(self) -> ScoredImages:
        """Return this object."""
        return self

    def val_dataloader(self) -> list[tuple[Tensor, Tensor]]:
        """Return no batches: probabilities are not calibrated."""
        return []

    def test_dataloader(self) -> SequentialLoader:
        """Return all test images in order."""
        return SequentialLoader(*self.images, batch_size=self.batch_size)


def scored_split(raw: RawSplits, advice: str) -> str:
    """Return the split that scores a set without training data: ``test``, or ``train`` if it is the only one.

    Args:
        raw: Splits as loaded.
        advice: Way to provide a test split, for the error message.

    Raises:
        ValueError: There are no test images, or the data are multi-label.
    """
    split = "train" if set(raw.splits) == {"train"} else "test"
    if split not in raw.splits:
        raise ValueError(f"{raw.name} has no test split; {advice}")
    labels = raw.splits[split][1]
    if labels.ndim == 2:
        raise ValueError(f"{raw.name} is multi-label, which test images alone cannot score; give --data, too")
    if split == "train":
        rank_zero_warn(
            f"{raw.name} has no splits: all {len(labels):,} images are scored as test images; the scores are valid "
            "only if the set was made without these images"
        )
    return split
