"""The set that `StudentEvaluation` evaluates: that of a distiller as it is exported, a set file, or a tuple."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

import torch
from torch import Tensor

from lightning_distill.callbacks._image_space import (
    ImageSpace,
    batch_space,
    identity_statistics,
    image_statistics,
    statistics_for,
)
from lightning_distill.data.checks.label_combinations import combination_indices, frequent_combinations
from lightning_distill.sets.adapt import adapt_set
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.sets.storage import read_set
from lightning_distill.sets.synthetic import SyntheticSet
from lightning_distill.spec import DataSpec

#: Path of a set file, or images ``(N, C, H, W)`` with labels ``(N,)`` or 0/1 targets ``(N, L)``.
SetSource = str | os.PathLike[str] | tuple[Tensor, Tensor]


@dataclass(frozen=True)
class EvaluatedSet:
    """Training set of the students, with the statistics of the space that they see.

    Args:
        data: Training set.
        train_spec: Spec with the mean and std that map pixel units to the students' space.
        only_space: The only space of real images that the statistics are known for; ``None`` if they fit both.
    """

    data: LabeledSet
    train_spec: DataSpec
    only_space: ImageSpace | None = None

    def check_space(self, space: ImageSpace) -> None:
        """Raise ValueError for real images of a space that the set cannot be compared in.

        Args:
            space: Space of the real images.
        """
        if self.only_space is None or self.only_space == space:
            return
        kinds: dict[ImageSpace, str] = {"pixels": "uint8", "normalized": "float"}
        raise ValueError(
            f"synthetic_set holds {kinds[self.only_space]} images, the loader gives {kinds[space]} images: their "
            "units may differ; give the set in the dtype and space of the loader, or use batch_transform="
        )


@dataclass(frozen=True)
class GivenSet:
    """A set that was given to the callback.

    Args:
        data: Images in their own space, labels, and a spec with the statistics known from the set alone.
        space: Space of the images.
        from_file: Whether the spec is that of a set file; its statistics then take precedence over the data module's.
        card: Card of the set file; empty for a tuple.
    """

    data: LabeledSet
    space: ImageSpace
    from_file: bool
    card: Mapping[str, Any] = field(default_factory=dict)

    def for_data(self, real_spec: DataSpec | None) -> EvaluatedSet:
        """Return the set with the statistics that fit the real data.

        Args:
            real_spec: Specification of the real data; ``None`` if unknown.

        Raises:
            ValueError: The images have another shape than the real data, or a set file other classes or pixel units.
        """
        data, spec = self.data, self.data.spec
        if real_spec is not None and real_spec.shape != spec.shape:
            raise_shape(spec, real_spec.shape)
        if self.from_file:
            if real_spec is not None:
                adapt_set(data, real_spec)  # refuses other classes and pixel units; the set keeps its mean and std
            return EvaluatedSet(data, spec)
        if real_spec is not None:
            spec = replace(spec, mean=real_spec.mean, std=real_spec.std)
        data = replace(data, spec=statistics_for(self.space, spec))
        return EvaluatedSet(data, spec, only_space=self.space if real_spec is None else None)


def read_given_set(source: SetSource) -> GivenSet:
    """Read a set file, or describe a tuple by a spec of its own.

    Args:
        source: Path of a set file or of its folder, or a tuple of images and labels.

    Raises:
        FileNotFoundError: No set file at the path.
        ValueError: Wrong shapes, or one class only.
    """
    if isinstance(source, str | os.PathLike):
        data, card = read_set(os.fspath(source))
        return GivenSet(data, "pixels", from_file=True, card=card)
    images, labels = source[0].detach().cpu(), source[1].detach().cpu().long()
    if images.ndim != 4 or len(images) != len(labels):
        shapes = f"got {tuple(images.shape)} and {tuple(labels.shape)}"
        raise ValueError(f"synthetic_set takes images (N, C, H, W) and labels (N,) or (N, L); {shapes}")
    combinations: tuple[tuple[int, ...], ...] = ()
    if labels.ndim == 2 and labels.shape[1] > 1:
        classes = labels.shape[1]
        combinations = frequent_combinations(labels.numpy(), least=1)
        labels = torch.from_numpy(combination_indices(labels.numpy(), combinations))
    else:
        labels = labels.flatten()
        classes = int(labels.max()) + 1
    if classes < 2:
        raise ValueError("synthetic_set has one class only; students need at least two")
    space = batch_space(images)
    images = images if images.dtype == torch.uint8 else images.float()
    mean, std = image_statistics(images)
    spec = DataSpec(
        name="given set",
        shape=(images.shape[1], images.shape[2], images.shape[3]),
        class_names=tuple(map(str, range(classes))),
        mean=mean,
        std=std,
        min_value=float(images.min()),
        max_value=float(images.max()),
        storage_dtype="float16",
        augmentation="dsa",
        task="multi-label" if combinations else "multi-class",
        combinations=combinations,
    )
    spec = spec if space == "pixels" else identity_statistics(spec)
    return GivenSet(LabeledSet(images, labels, spec), space, from_file=False)


def exported_set(synthetic: SyntheticSet) -> LabeledSet:
    """Return the set as it is exported, on the CPU: pixels, labels, and learned soft labels and learning rate."""
    soft_labels = None if synthetic.soft_label_logits is None else synthetic.targets().detach().cpu()
    lr = None if synthetic.lr is None else float(synthetic.lr.detach())
    return LabeledSet(
        synthetic.pixels().cpu(), synthetic.labels.cpu(), synthetic.spec, soft_labels, lr, synthetic.formation
    )


def raise_shape(spec: DataSpec, shape: tuple[int, ...]) -> NoReturn:
    """Raise ValueError for images of another shape than the set's.

    Args:
        spec: Specification of the set.
        shape: Channels, height and width of the other images.
    """
    raise ValueError(f"the set's images are {spec.shape}, the loader's {shape} (C, H, W); resize one of them")
