"""Data module of some training images of another one: the data of a shadow set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lightning_distill.data import ArrayDataModule
from lightning_distill.data.checks.arrays import Array
from lightning_distill.data.checks.splits import Split
from lightning_distill.spec import DataSpec
from lightning_distill.utils.lazy_arrays import take


class SubsetDataModule(ArrayDataModule):
    """Some training images of a data module, with its options, classes and validation images.

    Mean and standard deviation are those of the subset, as they would be in a set made from it.

    Args:
        parent: Data module with all images. It holds them; the subset holds its own images only.
        rows: Rows of the training images.
        extra: Further training images ``(E, C, H, W)`` in pixel units and their labels, such as canaries.
        public_statistics: Whether mean and standard deviation are those of all images.

    Raises:
        ValueError: The parent is not set up.

    Attributes:
        parent: Data module with all images.
        rows: Rows of the training images.

    Example:
        >>> from lightning_distill import DigitsDataModule
        >>> data = DigitsDataModule()
        >>> data.setup()
        >>> half = SubsetDataModule(data, np.arange(0, 1000, 2))
        >>> len(half.train_arrays()[1])
        500
    """

    def __init__(
        self,
        parent: ArrayDataModule,
        rows: NDArray[np.int64] | Sequence[int],
        extra: Split | None = None,
        public_statistics: bool = False,
    ) -> None:
        if not parent.is_loaded:  # Lightning would take the arguments of this constructor for those of the parent
            raise ValueError("the data module has no splits yet; call its setup() first")
        self._whole: DataSpec = parent.spec
        self._public_statistics = public_statistics
        images, labels = parent.all_train_arrays()
        chosen = np.asarray(rows, np.int64)
        pair: tuple[Array, NDArray[np.int64]] = take(images, chosen), labels[chosen]
        if extra is not None:
            pair = (np.concatenate([np.asarray(pair[0][:]), extra[0]]), np.concatenate([pair[1], extra[1]]))
        super().__init__(
            pair,
            parent.splits["val"],
            class_names=self._whole.class_names,
            name=self._whole.name,
            task=self._whole.task,
            augmentation=self._whole.augmentation,
            license=self._whole.license,
            source=self._whole.source,
            channels="first",
            real_per_class=parent.real_per_class,
            batch_size=parent.batch_size,
            steps_per_epoch=parent.steps_per_epoch,
            min_combination=1,
            seed=parent.seed,
        )
        self.parent, self.rows = parent, chosen

    def _describe(self) -> DataSpec:
        own = super()._describe()
        if self._public_statistics:
            return self._whole
        return replace(self._whole, mean=own.mean, std=own.std)
