"""Scikit-learn's handwritten digits: the data set that needs no download."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from lightning_distill.augmentation.presets import valid_for
from lightning_distill.data.base import ArrayDataModule
from lightning_distill.data.checks.arrays import Array


class DigitsDataModule(ArrayDataModule):
    """1,797 grey digits of 8x8 px, split 60 / 20 / 20, stratified and seeded.

    Args:
        real_per_class: real images of each class in a training batch.
        batch_size: images in a validation or test batch.
        steps_per_epoch: batches between two validations, see `ArrayDataModule`.
        seed: of the split and of the draws.

    Reference:
        Alpaydin, Kaynak: Optical Recognition of Handwritten Digits, UCI, as shipped with scikit-learn (CC BY 4.0).
    """

    def __init__(
        self, real_per_class: int = 256, batch_size: int = 256, steps_per_epoch: int | None = None, seed: int = 0
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
        """The three splits; the 17 grey levels are spread over 0..255."""
        digits = load_digits()
        images = np.round(digits.images * (255 / 16)).astype(np.uint8)
        labels = digits.target.astype(np.int64)
        rest, test = train_test_split(np.arange(len(labels)), test_size=0.2, random_state=self.seed, stratify=labels)
        train, val = train_test_split(rest, test_size=0.25, random_state=self.seed, stratify=labels[rest])
        return {
            split: (images[index], labels[index]) for split, index in (("train", train), ("val", val), ("test", test))
        }
