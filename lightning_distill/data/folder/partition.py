"""Split test images off train where the files have no test split."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass

import numpy as np
from lightning.pytorch.utilities import rank_zero_warn
from numpy.typing import NDArray

from lightning_distill.data.checks.arrays import Array
from lightning_distill.data.checks.groups import PATIENT
from lightning_distill.data.checks.splits import carve_out
from lightning_distill.utils.lazy_arrays import take
from lightning_distill.utils.rng import derive_seed

RawPair = tuple[Array, NDArray[np.int64]]


@dataclass(frozen=True)
class MadeTestSplit:
    """Test split that is made from train: stratified by class, by whole groups where groups are known.

    Args:
        fraction: Fraction of the training images, at most 0.5. Groups are split by one of ``round(1 / fraction)``
            folds.
        seed: Seed of the split.
    """

    fraction: float
    seed: int

    def describe(self, unit: str) -> str:
        """Describe the split for cards."""
        return f"test split of {self.fraction:g} of the images by {unit}, seed {self.seed}"

    def split(
        self,
        splits: Mapping[str, RawPair],
        groups: MutableMapping[str, NDArray[np.int64]],
        group_kind: str,
    ) -> tuple[dict[str, RawPair], str]:
        """Return the splits with the test images taken from train, and the unit that they are split by.

        Args:
            splits: Images and labels of train and, optionally, val.
            groups: Group numbers ``(N,)`` by split; changed in place.
            group_kind: Kind of the groups.

        Raises:
            ValueError: The files have a test split or no training images, or there are too few images or groups.
        """
        if "test" in splits:
            raise ValueError(
                f"test_fraction={self.fraction:g}, but the files have a test split; set test_fraction=0 to use it"
            )
        if "train" not in splits:
            raise ValueError(f"test_fraction={self.fraction:g} needs training images; add them")
        (images, labels), numbers = splits["train"], groups.get("train")
        seed = derive_seed("test split", self.seed) % 2**32
        train, test = carve_out(labels, self.fraction, seed, numbers, name="test_fraction")
        parts = {"train": train, "test": test}
        if numbers is None:
            rank_zero_warn(
                "the test split is made of single images, as no patients are known: images of one patient may be in "
                "train and test; name the patients in a table (column patient), in folders, or with groups='dicom'"
            )
        else:
            groups.update({split: numbers[rows] for split, rows in parts.items()})
        made = dict(splits) | {split: (take(images, rows), labels[rows]) for split, rows in parts.items()}
        return made, "image" if numbers is None else "patient" if group_kind == PATIENT else group_kind
