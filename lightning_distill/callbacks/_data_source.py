"""Specification, units and training images of the real data that a Trainer reads, from any data module or loader."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from lightning import Trainer
from lightning.pytorch.utilities import rank_zero_warn
from numpy.typing import NDArray

from lightning_distill.callbacks._image_space import ImageSpace, batch_space
from lightning_distill.callbacks._lightning_private import current_datamodule, current_evaluation_loader
from lightning_distill.data import ArrayDataModule
from lightning_distill.data.checks.label_combinations import is_covered
from lightning_distill.data.loaders import ClassBalancedLoader, SequentialLoader
from lightning_distill.spec import DataSpec
from lightning_distill.utils.lazy_arrays import take
from lightning_distill.utils.rng import isolated_rng

Arrays = tuple[NDArray[np.generic], NDArray[np.int64]]


def real_spec(trainer: Trainer, synthetic: object) -> DataSpec | None:
    """Return the spec of the real data: the data module's that is read now, an earlier call's, or the distiller's.

    Args:
        trainer: Trainer in a validation or test.
        synthetic: Synthetic set of the distiller, or ``None``.
    """
    candidates = (current_datamodule(trainer), trainer.datamodule, synthetic)  # type: ignore[attr-defined]
    return next((spec for source in candidates if (spec := _spec_of(source)) is not None), None)


def gives_pixel_units(trainer: Trainer) -> bool:
    """Return whether the loader that is read now is known to give pixel units.

    Args:
        trainer: Trainer in a validation or test.
    """
    return _spec_of(current_datamodule(trainer)) is not None or isinstance(
        current_evaluation_loader(trainer), SequentialLoader
    )


def _spec_of(datamodule: object) -> DataSpec | None:
    spec = getattr(datamodule, "spec", None)
    return spec if isinstance(spec, DataSpec) else None


def training_images(trainer: Trainer, spec: DataSpec) -> tuple[Arrays, ImageSpace] | None:
    """Return real training images with labels, and their space; a loader of another project is read once.

    Args:
        trainer: Trainer in a validation or test.
        spec: Specification of the set, with the balance groups that label the images.

    Returns:
        Images ``(N, C, H, W)`` with numbers ``(N,)`` of their groups, and their space; ``None`` without training data.
    """
    datamodule: Any = current_datamodule(trainer) or trainer.datamodule  # type: ignore[attr-defined]
    if isinstance(datamodule, ArrayDataModule):
        return _in_groups(datamodule.all_train_arrays(), spec), "pixels"
    loader: Any = trainer.train_dataloader
    if datamodule is None and isinstance(loader, ClassBalancedLoader):
        labels = np.zeros(len(loader.images), np.int64)
        for label, rows in enumerate(loader.members):
            labels[rows] = label
        return (loader.images, labels), "pixels"
    if datamodule is None and loader is None:
        rank_zero_warn("acc_gain_over_random is not measured without training data; give the Trainer a datamodule")
        return None
    with isolated_rng(0):
        batches = list(datamodule.train_dataloader() if datamodule is not None else loader)
    images, targets = torch.cat([batch[0] for batch in batches]), torch.cat([batch[1] for batch in batches])
    space = batch_space(images, _spec_of(datamodule) is not None)
    images = images if images.dtype == torch.uint8 else images.float()
    targets = targets if spec.multi_label else targets.flatten()
    foreign = ArrayDataModule((images.numpy(), targets.numpy()), class_names=spec.class_names, channels="first")
    return _in_groups(foreign.all_train_arrays(), spec), space


def _in_groups(arrays: Arrays, spec: DataSpec) -> Arrays:
    """Return images and numbers of ``spec.balance_groups``: of multi-label data, the images that are in a group."""
    images, targets = arrays
    if not spec.multi_label:
        return images, targets
    rows, groups = is_covered(targets, spec.combinations)
    return take(images, rows), groups
