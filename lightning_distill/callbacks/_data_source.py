"""Specification, units and training images of the real data that a Trainer reads, from any data module or loader."""

from __future__ import annotations

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
from lightning_distill.data.checks.arrays import as_images, as_labels
from lightning_distill.data.checks.label_combinations import is_covered
from lightning_distill.data.loader_contents import (
    class_numbers,
    copy_or_same,
    isolated_streams,
    read_loader,
)
from lightning_distill.data.loaders import ClassBalancedLoader, SequentialLoader
from lightning_distill.spec import DataSpec
from lightning_distill.utils.lazy_arrays import take

Arrays = tuple[NDArray[np.generic], NDArray[np.int64]]
#: Largest size of the training images of another project that random subsets are drawn from.
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


def training_images(
    trainer: Trainer, pl_module: LightningModule, spec: DataSpec, batch_format: BatchFormat
) -> tuple[Arrays, ImageSpace]:
    """Return real training images with labels, and their space.

    The loader of another project is not iterated: the data set behind it is read, at most ``MAX_BYTES`` of images.

    Args:
        trainer: Trainer in a validation or test.
        pl_module: Module of the run, for its transfer hooks.
        spec: Specification of the set, with the balance groups that label the images.
        batch_format: Place of images and labels in a batch.

    Returns:
        Images ``(N, C, H, W)`` with numbers ``(N,)`` of their groups, and their space.

    Raises:
        ValueError: There are no training data, or they do not fit the set.
        TypeError: The data set cannot be read without a change of the run.
    """
    datamodule: Any = current_datamodule(trainer) or trainer.datamodule  # type: ignore[attr-defined]
    if isinstance(datamodule, ArrayDataModule):
        return _in_groups(datamodule.all_train_arrays(), spec), "pixels"
    loader = _training_loader(trainer, datamodule)
    if isinstance(loader, ClassBalancedLoader):
        return (loader.images, class_numbers(loader)), "pixels"

    def to_pair(batch: object, split: str) -> tuple[Tensor, Tensor]:
        images, labels = batch_format(as_transferred(trainer, pl_module, batch), split)
        return images, class_labels(labels, spec, split)

    images, targets = read_loader(loader, "train", to_pair, max_bytes=MAX_BYTES)
    if tuple(images.shape[1:]) != spec.shape:
        raise ValueError(f"training images are {tuple(images.shape[1:])}, the set's {spec.shape}")
    size = images.numel() * images.element_size()
    if size > MAX_BYTES // 2:
        rank_zero_info(f"random subsets are drawn from {len(images)} training images, {size >> 20} MiB")
    space = batch_space(images, _spec_of(datamodule) is not None)
    images = images if images.dtype == torch.uint8 else images.float()
    arrays = as_images(images.numpy(), "train", "first"), as_labels(targets.numpy(), len(targets), "train")
    return _in_groups(arrays, spec), space


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
