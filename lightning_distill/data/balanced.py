"""``BalancedDataModule``: wrap any LightningDataModule so that it serves class-balanced batches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from lightning import LightningDataModule
from torch import Tensor

from lightning_distill.data.base import ArrayDataModule
from lightning_distill.data.checks.arrays import Array, Channels
from lightning_distill.utils.rng import isolated_rng


class BalancedDataModule(ArrayDataModule):
    """Wrapper of a data module with ``(images, labels)`` batches, which makes it usable for distillation.

    The loaders of the wrapped module are read once into memory, in the dtype of their batches, and normalized per batch
    as all other data. Random transforms in the wrapped training loader are therefore applied once, seeded by ``seed``.

    Args:
        datamodule: Data module with a ``train_dataloader`` that yields images ``(B, C, H, W)`` and integer labels
            ``(B,)``. Its validation and test loaders are used if it has them; without a validation loader a split is
            taken from the training images.
        name: Name of the data set in cards and tables. ``None`` takes the class name of ``datamodule``.
        class_names: Name of each class. ``None`` takes ``datamodule.class_names`` if it exists, else numbers.
        augmentation: Name of a siamese augmentation in `presets.PRESETS` that is valid for the images.
        license: License of the data, recorded in the card.
        source: Origin of the data, shown in cards and tables.
        channels: Position of the channel axis: ``first``, ``last`` or ``auto``.
        val_fraction: Fraction of the training split used for validation if there is no validation loader.
        real_per_class: Number of real images of each class in a training batch.
        batch_size: Number of images in a validation or test batch.
        steps_per_epoch: Number of training batches between two validations. ``None`` validates five times in
            ``Trainer(max_steps=n)`` if n is divisible by 5, else once, at the end.
        seed: Seed of the wrapped loaders, the batches and the validation split.

    Raises:
        TypeError: If a loader yields anything else than pairs of tensors (on first use).
        ValueError: If a loader yields no batches (on first use).

    Example:
        >>> from lightning import LightningDataModule
        >>> dataset = torch.utils.data.TensorDataset(torch.rand(20, 1, 8, 8), torch.arange(20) % 2)
        >>> data = BalancedDataModule(LightningDataModule.from_datasets(dataset, num_workers=0), name="noise")
        >>> data.spec.name, data.spec.shape, data.spec.class_names
        ('noise', (1, 8, 8), ('0', '1'))
    """

    def __init__(
        self,
        datamodule: LightningDataModule,
        *,
        name: str | None = None,
        class_names: Sequence[str] | None = None,
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
        """Run ``prepare_data`` of the wrapped module."""
        self.wrapped.prepare_data()

    def load_raw(self) -> dict[str, tuple[Array, Array] | None]:
        """Read every split that the wrapped module has a loader for.

        Returns:
            Images and labels by split; ``None`` for splits without a loader.
        """
        self.wrapped.trainer = self.trainer
        self.wrapped.prepare_data()
        self.wrapped.setup("fit")
        self.wrapped.setup("test")
        return {split: self._read(split) for split in ("train", "val", "test")}

    def _read(self, split: str) -> tuple[Array, Array] | None:
        """Images and labels of one loader, or ``None`` if the wrapped module does not define it."""
        hook = f"{split}_dataloader"
        loader = getattr(self.wrapped, hook)
        if getattr(loader, "__func__", loader) is getattr(LightningDataModule, hook):
            return None
        with isolated_rng(self.seed):
            batches = [_to_pair(batch, split) for batch in loader()]
        if not batches:
            raise ValueError(f"{type(self.wrapped).__name__}.{hook}() yields no batches; check its data set")
        return torch.cat([x for x, _ in batches]).numpy(), torch.cat([y for _, y in batches]).numpy()


def _to_pair(batch: object, split: str) -> tuple[Tensor, Tensor]:
    """Images and labels of a batch on the CPU.

    Raises:
        TypeError: If the batch is not a pair of tensors.
    """
    if isinstance(batch, Iterable) and not isinstance(batch, (dict, Tensor)):
        items = tuple(batch)
        if len(items) == 2 and all(isinstance(item, Tensor) for item in items):
            return items[0].cpu(), items[1].cpu()
    raise TypeError(f"the {split} loader yields {type(batch).__name__}; it must yield (images, labels) as two tensors")
