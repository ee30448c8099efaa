"""Merge sets of several sites into one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_distill.augmentation.presets import PRESETS
from lightning_distill.sets.adapt import to_stored_dtype
from lightning_distill.sets.formation import rows_of_images
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.spec import DataSpec


def merge_sets(sets: Sequence[LabeledSet], lr: float | None = None) -> LabeledSet:
    r"""Concatenate sets, order the images by class, and combine mean and std.

    Pixels are in pixel units and are concatenated unchanged. With :math:`w_s` the fraction of images from set s, per
    channel

    :math:`\mu = \sum_s w_s \mu_s, \quad \sigma^2 = \sum_s w_s (\sigma_s^2 + (\mu_s - \mu)^2)`,

    the mean and std of a mixture of the sets' training data in these proportions. If a set has learned
    probabilities, the labels of the others become one-hot probabilities.

    Args:
        sets: Sets of one image shape and storage dtype, with the same classes in the same order.
        lr: Learning rate of the merged set. Required if the learned rates of the sets differ.

    Returns:
        The merged set. Sets with different numbers of sub-images are decoded and rounded to the storage dtype. Of
        different augmentation presets it keeps the one with the fewest operations.

    Raises:
        ValueError: No sets are given, they differ in shape, classes, task or dtype, or their learned rates differ and
            ``lr`` is None.
    """
    if not sets:
        raise ValueError("no sets to merge; give at least two")
    if lr is not None and not 0 < lr < float("inf"):
        raise ValueError(f"lr={lr}; the learning rate must be above 0")
    if len({part.formation for part in sets}) > 1:
        sets = [replace(part.decode(), pixels=to_stored_dtype(part.decode().pixels, part.spec)) for part in sets]
    first = sets[0].spec
    for number, other in enumerate((part.spec for part in sets[1:]), 2):
        _check_alike(first, other, number)
    rates = {part.lr for part in sets}
    if lr is None and len(rates) > 1:
        rates_text = ", ".join("none" if part.lr is None else f"{part.lr:.4g}" for part in sets)
        raise ValueError(f"the learned rates of the sets differ ({rates_text}); set one, such as --lr 0.01")
    common = _common([part.spec for part in sets], [len(part.labels) for part in sets])
    labels = torch.cat([_common_labels(part, common) for part in sets])
    order = torch.argsort(labels, stable=True)
    soft = None
    if any(part.soft_labels is not None for part in sets):
        soft = rows_of_images(torch.cat([label_probabilities(part) for part in sets]), order)
    pixels = torch.cat([part.pixels for part in sets])[order]
    rate = sets[0].lr if lr is None else lr
    return LabeledSet(pixels, labels[order], common, soft, rate, sets[0].formation)


def label_probabilities(labeled_set: LabeledSet) -> Tensor:
    """Return the targets of a set as probabilities ``(N, K)`` float32."""
    if labeled_set.soft_labels is None and not labeled_set.spec.multi_label:
        return F.one_hot(labeled_set.targets, labeled_set.spec.num_classes).float()
    return labeled_set.targets.float()


def _common_labels(labeled_set: LabeledSet, common: DataSpec) -> Tensor:
    """Labels as indices into the balance groups of the merged set."""
    return (
        common.group_indices(labeled_set.spec.targets(labeled_set.labels)) if common.multi_label else labeled_set.labels
    )


def _check_alike(first: DataSpec, other: DataSpec, number: int) -> None:
    fix = "convert one of them with lightning_distill.sets.adapt.adapt_set first"
    for what, ours, theirs in (
        ("images (C, H, W)", first.shape, other.shape),
        ("classes", ", ".join(first.class_names), ", ".join(other.class_names)),
        ("tasks", first.task, other.task),
        ("storage dtype", first.storage_dtype, other.storage_dtype),
    ):
        if ours != theirs:
            raise ValueError(f"the sets differ in {what}: {ours} in set 1, {theirs} in set {number}; {fix}")


def _common(specs: Sequence[DataSpec], images: Sequence[int]) -> DataSpec:
    first = specs[0]
    mean, std = first.mean, first.std
    if any((spec.mean, spec.std) != (mean, std) for spec in specs):  # else rounding would change equal statistics
        share = torch.tensor(images, dtype=torch.float64)[:, None] / sum(images)  # (S, 1)
        means, stds = (torch.tensor(v, dtype=torch.float64) for v in ([s.mean for s in specs], [s.std for s in specs]))
        common = (share * means).sum(0)  # (C,)
        variance = (share * (stds.square() + (means - common).square())).sum(0)
        mean, std = tuple(common.tolist()), tuple(variance.sqrt().tolist())
    return replace(
        first,
        name=_listed(spec.name for spec in specs),
        license=_listed(spec.license for spec in specs),
        source=_listed(spec.source for spec in specs),
        mean=mean,
        std=std,
        min_value=min(spec.min_value for spec in specs),
        max_value=max(spec.max_value for spec in specs),
        combinations=tuple(dict.fromkeys(row for spec in specs for row in spec.combinations)),
        intensity_scale=_shared(spec.intensity_scale for spec in specs),
        resize=_shared(spec.resize for spec in specs),
        augmentation=min((spec.augmentation for spec in specs), key=lambda preset: len(PRESETS[preset])),
    )


def _listed(names: Iterable[str]) -> str:
    return " + ".join(dict.fromkeys(names))


def _shared(texts: Iterable[str]) -> str:
    """Return the text that all sets state; empty where they differ."""
    different = set(texts)
    return different.pop() if len(different) == 1 else ""
