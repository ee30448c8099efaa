"""``SignalsDataModule``: signal banks in the place of training images."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_distill.data import ArrayDataModule
from lightning_distill.data.checks.arrays import Array
from lightning_distill.data.checks.splits import RawSplits, Split
from lightning_distill.data.loaders import SequentialLoader
from lightning_distill.signals.bank import SignalBank, merge_banks
from lightning_distill.signals.bank_file import read_bank
from lightning_distill.utils.lazy_arrays import LazyArray, Rows

BankOrPath = SignalBank | str | os.PathLike[str]


class SignalsDataModule(ArrayDataModule):
    """Data module of one or more signal banks: a set is distilled from them without any real training image.

    The banks of several sites are added. Validation and test images are the coordinator's own and optional.

    Args:
        signals: Files of `lightning-distill signals`, or banks.
        val: Validation images and labels, in the formats of `ArrayDataModule`. ``None`` leaves validation out.
        test: Test images and labels, in the formats of `ArrayDataModule`. ``None`` leaves the test out.
        batch_size: Number of images in a validation or test batch.
        steps_per_epoch: Number of steps between two validations, see `ArrayDataModule`.

    Raises:
        ValueError: The banks do not fit each other, a class has no images, or a file is damaged.

    Example:
        >>> data = ArrayDataModule((np.zeros((20, 8, 8), np.uint8), np.arange(20) % 2))
        >>> (bank,) = SignalBank.compute(data, draws=2, network="convnet_w16")
        >>> SignalsDataModule([bank]).spec.shape
        (1, 8, 8)
    """

    def __init__(
        self,
        signals: Sequence[BankOrPath] | BankOrPath,
        *,
        val: tuple[Array, Array] | None = None,
        test: tuple[Array, Array] | None = None,
        batch_size: int = 256,
        steps_per_epoch: int | None = None,
    ) -> None:
        super().__init__(None, val, test, batch_size=batch_size, steps_per_epoch=steps_per_epoch)
        self.bank = load_banks(signals)
        self.real_per_class = 0

    @property
    def has_images(self) -> bool:
        """Whether training images can be read: never."""
        return False

    def setup(self, stage: str | None = None) -> None:
        """Take the description of the banks, and check the validation and test images on the first call."""
        if self._spec is not None:
            return
        self._spec = self.bank.spec
        for split in ("val", "test"):
            if self._raw[split] is not None:
                self.splits[split] = self._checked(split)
        self.save_hyperparameters({"dataset": self._spec.name, "source": self._spec.source, "signals": True})

    def load_splits(self) -> RawSplits:
        """Raise a ValueError: an audit of data needs images."""
        raise ValueError("signal banks hold no images to audit; run `audit-data` where the images are")

    def train_arrays(self) -> Split:
        """Return images that cannot be read, and the class numbers of the images in the banks."""
        self.setup()
        numbers = self.bank.counts[0].round().long().clamp(min=1)
        labels = torch.arange(len(numbers)).repeat_interleave(numbers).numpy()
        return cast(Array, AbsentImages((len(labels), *self.spec.shape))), labels

    def all_train_arrays(self) -> Split:
        """Return `train_arrays`."""
        return self.train_arrays()

    def describe_training_data(self) -> dict[str, Any]:
        """Return a record of the banks for checkpoints: digests of their sums and counts."""
        parts = {"signals": self.bank.sums, "images": self.bank.counts}
        return {name: hashlib.sha256(part.numpy().tobytes()).hexdigest()[:12] for name, part in parts.items()}

    def train_dataloader(self) -> Any:
        """Return batches without images, one for each step."""
        return EmptyBatches(self.spec.shape, self._num_steps())

    def val_dataloader(self) -> Any:
        """Return all validation images in order; no loader where there are none."""
        return self._loader("val")

    def test_dataloader(self) -> Any:
        """Return all test images in order; no loader where there are none."""
        return self._loader("test")

    def _loader(self, split: str) -> Any:
        self.setup()
        return SequentialLoader(*self.splits[split], batch_size=self.batch_size) if split in self.splits else []

    def _checked(self, split: str) -> Split:
        """Return the images and labels of a split after the checks of `ArrayDataModule`."""
        whole = ArrayDataModule(self._raw[split], self._raw[split], class_names=self.bank.spec.class_names)
        images, labels = whole.load_splits().splits["val"]
        if tuple(images.shape[1:]) != self.bank.spec.shape:
            raise ValueError(
                f"the {split} images are {tuple(images.shape[1:])}, but those of the banks {self.bank.spec.shape}; "
                "give images of that size"
            )
        if labels.max(initial=0) >= self.bank.spec.num_classes:
            raise ValueError(
                f"the {split} labels go up to {labels.max()}, but the banks have {self.bank.spec.num_classes} classes"
            )
        return images, labels


class AbsentImages(LazyArray):
    """Array of images that are not there: every read is refused."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__(shape, np.dtype(np.float32))

    def read(self, rows: Rows) -> NDArray[Any]:
        """Raise a ValueError."""
        raise ValueError("signal banks hold no real images; start from noise (init='noise'), and leave picks out")


class EmptyBatches:
    """Loader of batches without images.

    Args:
        shape: Shape ``(C, H, W)`` of an image.
        steps: Number of batches in one iteration.
    """

    def __init__(self, shape: tuple[int, int, int], steps: int) -> None:
        self.batch = torch.zeros(0, *shape), torch.zeros(0, dtype=torch.int64)
        self.steps = steps

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for _ in range(self.steps):
            yield self.batch


def load_banks(signals: Sequence[BankOrPath] | BankOrPath) -> SignalBank:
    """Read banks, add them, and check that every class has images.

    Args:
        signals: Files of `lightning-distill signals`, or banks.
    """
    given = [signals] if isinstance(signals, SignalBank | str | os.PathLike) else list(signals)
    bank = merge_banks([each if isinstance(each, SignalBank) else read_bank(each) for each in given])
    bank.validate_complete()
    return bank
