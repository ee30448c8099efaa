"""``DigitsDataModule``: the handwritten digits of scikit-learn, which need no download."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from lightning_distill.augmentation.presets import valid_for
from lightning_distill.data.base import ArrayDataModule
from lightning_distill.data.checks.arrays import Array


class DigitsDataModule(ArrayDataModule):
    """Handwritten digits of scikit-learn: 1,797 gray images of 8x8 pixels, split 60 / 20 / 20, stratified by class.

    Args:
        real_per_class: Number of real images of each class in a training batch.
        batch_size: Number of images in a validation or test batch.
        steps_per_epoch: Number of training batches between two validations. ``None`` validates five times in
            ``Trainer(max_steps=n)`` if n is divisible by 5, else once, at the end.
        seed: Seed of the split and of the batches.

    Reference:
        Alpaydin, Kaynak: Optical Recognition of Handwritten Digits, UCI, as shipped with scikit-learn (CC BY 4.0).

    Example:
        >>> data = DigitsDataModule(real_per_class=16)
        >>> data.spec.shape, data.spec.num_classes, len(data.train_arrays()[0])
        ((1, 8, 8), 10, 1077)
    """

    def __init__(
        self, *, real_per_class: int = 256, batch_size: int = 256, steps_per_epoch: int | None = None, seed: int = 0
    ) -> None:
        super().__init__(
            class_names=[str(digit) for digit in range(10)],
            name="digits",
            augmentation=valid_for("digits"),
            license="CC BY 4.0",
            source="shipped with scikit-learn",
            real_per_class=real_per_class,
            batch_size=batch_size,
            steps_per_epoch=steps_per_epoch,
            seed=seed,
        )

    def load_raw(self) -> dict[str, tuple[Array, Array] | None]:
        """Split the digits and scale their 17 gray levels to 0..255.

        Returns:
            Images ``(N, 8, 8)`` uint8 and labels ``(N,)`` int64 by split.
        """
        digits = load_digits()
        images = np.round(digits.images * (255 / 16)).astype(np.uint8)
        labels = digits.target.astype(np.int64)
        rest, test = train_test_split(np.arange(len(labels)), test_size=0.2, random_state=self.seed, stratify=labels)
        train, val = train_test_split(rest, test_size=0.25, random_state=self.seed, stratify=labels[rest])
        rows_of_splits = {"train": train, "val": val, "test": test}
        return {split: (images[rows], labels[rows]) for split, rows in rows_of_splits.items()}
