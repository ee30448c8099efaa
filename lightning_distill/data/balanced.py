"""``BalancedDataModule``: wrap any LightningDataModule so that it serves class-balanced batches."""

from __future__ import annotations

from collections.abc import Sequence

from lightning import LightningDataModule

from lightning_distill.data.base import ArrayDataModule
from lightning_distill.data.batches import BatchFormat, BatchKeys, BatchTransform
from lightning_distill.data.checks.arrays import Array, Channels
from lightning_distill.data.loader_contents import isolated_streams, read_loader, refuse_overlap


class BalancedDataModule(ArrayDataModule):
    """Wrapper of any data module that makes it usable for distillation.

    The data set behind each loader is read once into memory, every image once, in the dtype of the batches: samplers,
    ``shuffle`` and ``drop_last`` are not used, except for samplers of a part of the data set. Images are normalized per
    batch as all other data. Random transforms of the wrapped module are therefore applied once, seeded by ``seed``.

    Args:
        datamodule: Data module with a ``train_dataloader`` that yields images ``(B, C, H, W)`` and integer labels
            ``(B,)``, or other batches and ``batch_keys``. Its validation and test loaders are used if it has them;
            without a validation loader a split is taken from the training images.
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
        seed: Seed of random transforms, the batches and the validation split.
        batch_keys: Keys of images and labels in a batch, e.g. ``("image", "label")`` for a dict, or two field names or
            positions in a tuple. ``None`` takes batches of two tensors.
        batch_transform: Function that returns images and labels of a batch, instead of ``batch_keys``.

    Raises:
        TypeError: If a loader yields anything else than pairs of tensors, there are several loaders for a split, or a
            data set that can only be iterated has no length (on first use).
        ValueError: If a loader yields no batches, or two splits read the same rows of one data set (on first use).

    Example:
        >>> import torch
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
        batch_keys: BatchKeys | None = None,
        batch_transform: BatchTransform | None = None,
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
        self.wrapped, self._format = datamodule, BatchFormat(batch_keys, batch_transform)

    def prepare_data(self) -> None:
        """Run ``prepare_data`` of the wrapped module."""
        self.wrapped.prepare_data()

    def load_raw(self) -> dict[str, tuple[Array, Array] | None]:
        """Read every split that the wrapped module has a loader for.

        Returns:
            Images and labels by split; splits without a loader are absent.
        """
        self.wrapped.trainer = self.trainer
        self.wrapped.prepare_data()
        self.wrapped.setup("fit")
        self.wrapped.setup("test")
        loaders = {split: self._loader(split) for split in ("train", "val", "test")}
        loaders = {split: loader for split, loader in loaders.items() if loader is not None}
        refuse_overlap(loaders)
        arrays: dict[str, tuple[Array, Array] | None] = {}
        for split, loader in loaders.items():
            images, labels = read_loader(loader, split, self._format, seed=self.seed)
            arrays[split] = images.numpy(), labels.numpy()
        return arrays

    def _loader(self, split: str) -> object | None:
        """Loader of the wrapped module, or ``None`` if the module does not define one or returns none."""
        hook = f"{split}_dataloader"
        make = getattr(self.wrapped, hook)
        if getattr(make, "__func__", make) is getattr(LightningDataModule, hook):
            return None
        with isolated_streams(self.seed):
            loader: object = make()
        return loader
