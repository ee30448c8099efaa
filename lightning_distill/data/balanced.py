"""Any LightningDataModule, turned into class-balanced draws."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from lightning import LightningDataModule
from torch import Tensor

from lightning_distill.data.base import ArrayDataModule
from lightning_distill.data.checks.arrays import Array, Channels
from lightning_distill.utils.rng import isolated_rng


class BalancedDataModule(ArrayDataModule):
    """Wraps a data module that gives ``(x, y)`` batches, so that a distiller can draw from it class by class.

    The wrapped loaders are read once into memory in the dtype they give, and normalised per batch like any other
    images. A random transform in the wrapped training loader is drawn once, from ``seed``.

    Args:
        datamodule: its ``train_dataloader`` gives images ``(B, C, H, W)`` and integer labels ``(B,)``; its
            validation and test loaders are used where it has them, else a validation split is carved out.
        name: the data set's name in cards and tables.
        class_names: one a class; default the wrapped module's ``class_names``, else numbers.
        augmentation: a preset of `presets.PRESETS` that is valid for these images.
        license: licence of the data, for the card.
        source: where the data comes from, for cards and tables.
        channels: place of the channels; Lightning code gives them first.
        val_fraction: share of train carved out when there is no validation loader.
        real_per_class: real images of each class in a training batch.
        batch_size: images in a validation or test batch.
        steps_per_epoch: batches between two validations, see `ArrayDataModule`.
        seed: of the reading, the draws and a carved-out validation split.

    Raises:
        TypeError: a loader gives something else than ``(x, y)`` of tensors.
    """

    def __init__(
        self,
        datamodule: LightningDataModule,
        name: str | None = None,
        class_names: list[str] | None = None,
        augmentation: str = "dsa",
        license: str = "unknown",
        source: str = "user data module",
        channels: Channels = "first",
        val_fraction: float = 0.1,
        real_per_class: int = 256,
        batch_size: int = 256,
        steps_per_epoch: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(
            class_names=class_names or getattr(datamodule, "class_names", None),
            name=name or type(datamodule).__name__,
            augmentation=augmentation,
            license=license,
            source=source,
            channels=channels,
            val_fraction=val_fraction,
            real_per_class=real_per_class,
            batch_size=batch_size,
            steps_per_epoch=steps_per_epoch,
            seed=seed,
        )
        self.wrapped = datamodule

    def prepare_data(self) -> None:
        """The wrapped module's own."""
        self.wrapped.prepare_data()

    def load_raw(self) -> dict[str, tuple[Array, Array] | None]:
        """Every split the wrapped module has a loader for, read once."""
        self.wrapped.trainer = self.trainer
        self.wrapped.prepare_data()
        self.wrapped.setup("fit")
        self.wrapped.setup("test")
        return {split: self._read(split) for split in ("train", "val", "test")}

    def _read(self, split: str) -> tuple[Array, Array] | None:
        hook = f"{split}_dataloader"
        own = getattr(self.wrapped, hook)
        if getattr(own, "__func__", own) is getattr(LightningDataModule, hook):
            return None
        with isolated_rng(self.seed):
            batches = [_pair(batch, split) for batch in own()]
        if not batches:
            raise ValueError(f"{type(self.wrapped).__name__}.{hook}() gives no batches")
        return torch.cat([x for x, _ in batches]).numpy(), torch.cat([y for _, y in batches]).numpy()


def _pair(batch: object, split: str) -> tuple[Tensor, Tensor]:
    if isinstance(batch, Iterable) and not isinstance(batch, (dict, Tensor)):
        items = tuple(batch)
        if len(items) == 2 and all(isinstance(item, Tensor) for item in items):
            return items[0].cpu(), items[1].cpu()
    raise TypeError(f"the {split} loader gives {type(batch).__name__}; give (images, labels) as two tensors")
