"""Specification, units and training images of the real data that a Trainer reads, from any data module or loader."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from lightning import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.model_helpers import is_overridden
from numpy.typing import NDArray
from torch import Tensor

from lightning_distill.callbacks._image_space import ImageSpace, batch_space
from lightning_distill.callbacks._labels import class_labels
from lightning_distill.callbacks._lightning_private import (
    as_transferred,
    current_datamodule,
    current_evaluation_loader,
)
from lightning_distill.data import ArrayDataModule
from lightning_distill.data.batches import BatchFormat
from lightning_distill.data.checks.arrays import as_labels
from lightning_distill.data.checks.label_combinations import combination_indices, is_covered
from lightning_distill.data.loader_contents import (
    ToPair,
    class_numbers,
    copy_or_same,
    isolated_streams,
    scan_loader,
    single_loader,
)
from lightning_distill.data.loaders import ClassBalancedLoader, SequentialLoader
from lightning_distill.spec import DataSpec
from lightning_distill.utils.lazy_arrays import take

Arrays = tuple[NDArray[np.generic], NDArray[np.int64]]
#: Largest size of the training images of another project that are read to draw random subsets from.
MAX_BYTES = 1 << 30


def real_spec(trainer: Trainer, synthetic: object) -> DataSpec | None:
    """Return the spec of the real data: the data module's that is read now, an earlier call's, or the distiller's.

    Args:
        trainer: Trainer in a validation or test.
        synthetic: Synthetic set of the distiller, or ``None``.
    """
    candidates = (current_datamodule(trainer), trainer.datamodule, synthetic)  # type: ignore[attr-defined]
    return next((spec for source in candidates if (spec := _spec_of(source)) is not None), None)


def gives_pixel_units(trainer: Trainer, dataloader_idx: int = 0) -> bool:
    """Return whether the loader that is read now is known to give pixel units.

    Args:
        trainer: Trainer in a validation or test.
        dataloader_idx: Number of the loader.
    """
    loader = current_evaluation_loader(trainer)
    if isinstance(loader, list | tuple) and dataloader_idx < len(loader):
        loader = loader[dataloader_idx]
    return _spec_of(current_datamodule(trainer)) is not None or isinstance(loader, SequentialLoader)


def _spec_of(datamodule: object) -> DataSpec | None:
    spec = getattr(datamodule, "spec", None)
    return spec if isinstance(spec, DataSpec) else None


@dataclass(frozen=True)
class TrainingArrays:
    """Training images of this package, in memory or on disk.

    Args:
        images: Images ``(N, C, H, W)``.
        groups: Numbers ``(N,)`` of their balance groups.
        space: Space of the images.
    """

    images: NDArray[np.generic]
    groups: NDArray[np.int64]
    space: ImageSpace


@dataclass(frozen=True)
class TrainingStream:
    """Training data of another project. The loader is not iterated: the data set behind it is read.

    Args:
        loader: Loader of the project.
        to_pair: Function that returns images and labels of a batch.
        in_pixel_units: Whether the images are known to be in pixel units.
    """

    loader: object
    to_pair: ToPair
    in_pixel_units: bool

    def scan(self, spec: DataSpec, visit: Callable[[Tensor, NDArray[np.int64], ImageSpace], None]) -> None:
        """Show the images to a function, batch by batch: at most ``MAX_BYTES`` of images, each once.

        Args:
            spec: Specification of the set, with the balance groups that label the images.
            visit: Function of images ``(n, C, H, W)`` uint8 or float32, numbers ``(n,)`` of their groups (-1 for none),
                and their space.

        Raises:
            ValueError: The images do not fit the set, or have NaN or infinite pixels.
            TypeError: The data set cannot be read without a change of the run.
        """
        read = [0, 0]

        def check(images: Tensor, targets: Tensor) -> None:
            if tuple(images.shape[1:]) != spec.shape:
                raise ValueError(f"training images are {tuple(images.shape[1:])}, the set's {spec.shape}")
            space = batch_space(images, self.in_pixel_units)
            images = images if images.dtype == torch.uint8 else images.float()
            labels = as_labels(targets.numpy(), len(images), "train")
            if not images.isfinite().all():
                row = read[0] + int((~images.isfinite()).flatten(1).any(1).int().argmax())
                raise ValueError(f"train image {row} has NaN or infinite pixels; mend or drop it first")
            read[:] = read[0] + len(images), read[1] + images.numel() * images.element_size()
            visit(images, combination_indices(labels, spec.combinations) if spec.multi_label else labels, space)

        scan_loader(self.loader, "train", self.to_pair, check, max_bytes=MAX_BYTES)
        if read[1] > MAX_BYTES // 2:
            rank_zero_info(f"random subsets were drawn from {read[0]:,} training images, {read[1] >> 20} MiB")


def training_data(
    trainer: Trainer, pl_module: LightningModule, spec: DataSpec, batch_format: BatchFormat
) -> TrainingArrays | TrainingStream:
    """Return the real training images of the run; those of another project are not read yet.

    Args:
        trainer: Trainer in a validation or test.
        pl_module: Module of the run, for its transfer hooks.
        spec: Specification of the set, with the balance groups that label the images.
        batch_format: Place of images and labels in a batch.

    Raises:
        ValueError: There are no training data, or they do not fit the set.
        TypeError: There are several training loaders.
    """
    datamodule: Any = current_datamodule(trainer) or trainer.datamodule  # type: ignore[attr-defined]
    if isinstance(datamodule, ArrayDataModule):
        return TrainingArrays(*_in_groups(datamodule.all_train_arrays(), spec), "pixels")
    in_pixel_units = _spec_of(datamodule) is not None
    loader = single_loader(_training_loader(trainer, datamodule), "train")
    if isinstance(loader, ClassBalancedLoader):
        return TrainingArrays(loader.images, class_numbers(loader), "pixels")
    if isinstance(loader, SequentialLoader):
        if tuple(loader.images.shape[1:]) != spec.shape:
            raise ValueError(f"training images are {tuple(loader.images.shape[1:])}, the set's {spec.shape}")
        images, groups = _in_groups((loader.images, loader.labels), spec)
        pixels = in_pixel_units or images.dtype.kind != "f"
        return TrainingArrays(images, groups, "pixels" if pixels else "normalized")

    def to_pair(batch: object, split: str) -> tuple[Tensor, Tensor]:
        images, labels = batch_format(as_transferred(trainer, pl_module, batch), split)
        return images, class_labels(labels, spec, split)

    return TrainingStream(loader, to_pair, in_pixel_units)


def _training_loader(trainer: Trainer, datamodule: LightningDataModule | None) -> object:
    """Return the loader of this run, or one of a copy of the data module where this run does not train."""
    if trainer.state.fn == "fit" or datamodule is None:
        loader: object = trainer.train_dataloader
        if loader is None:
            raise ValueError("there are no training data; give the Trainer a datamodule")
        return loader
    name = type(datamodule).__name__
    if not is_overridden("train_dataloader", datamodule, LightningDataModule):
        raise ValueError(f"{name} has no train_dataloader")
    with isolated_streams(0):
        copied, separate = copy_or_same(datamodule)
        if not separate:
            raise ValueError(f"{name} cannot be copied to read its training data; measure it in fit")
        try:
            return copied.train_dataloader()
        except Exception:  # the training data are often made in setup("fit") only
            try:
                copied.setup("fit")
                return copied.train_dataloader()
            except Exception as error:  # of the user's own code
                raise ValueError(f"{name}.train_dataloader() failed outside of fit: {error}") from error


def _in_groups(arrays: Arrays, spec: DataSpec) -> Arrays:
    """Return images and numbers of ``spec.balance_groups``: of multi-label data, the images that are in a group."""
    images, targets = arrays
    if not spec.multi_label:
        return images, targets
    rows, groups = is_covered(targets, spec.combinations)
    return take(images, rows), groups
