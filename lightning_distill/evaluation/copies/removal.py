"""Removal of near copies of training images from a set, by the tau rule."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from lightning_distill.data import ArrayDataModule
from lightning_distill.evaluation.copies.search import CopySearch
from lightning_distill.sets.adapt import to_stored_dtype
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.sets.same_data import check_same_data
from lightning_distill.utils.statistics import clopper_pearson


def remove_copies(
    labeled_set: LabeledSet,
    datamodule: ArrayDataModule,
    *,
    split: str = "val",
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> tuple[LabeledSet, dict[str, object]]:
    """Remove the images of a set that are near copies of training images.

    The correlation of an image with all training images is taken in an embedding that is trained on them; above the
    threshold tau it is a near copy, see `detection.CopyRule`. Labels, soft labels and the learned rate are kept.

    Args:
        labeled_set: Set as it is stored. Sub-images are decoded, and the result has none.
        datamodule: Real data that the set, or its generator, was made from.
        split: Held-out split that calibrates the rule: ``val`` or ``test``.
        seed: Seed of the embedding and of the halves of the held-out images.
        device: Device of the embedding.

    Returns:
        The set without the near copies, and the record for `sets.card.filtered_card`.

    Raises:
        ValueError: Set and data differ in shape, classes, task or pixel type, the split has fewer than four images, or
            a class would be left without images.

    Reference:
        Dar et al.: Unconditional Latent Diffusion Models Memorize Patient Imaging Data, arXiv 2402.01054.

    Example:
        >>> from lightning_distill import DigitsDataModule
        >>> kept, record = remove_copies(generated, DigitsDataModule())  # doctest: +SKIP
        >>> record["removed"], record["null_rate"]  # doctest: +SKIP
    """
    spec = labeled_set.spec
    check_same_data(spec, datamodule.spec, "the set", datamodule.spec.name, "give the data that the set was made from")
    search = CopySearch(datamodule, split=split, seed=seed, device=device)
    rule, decoded = search.rule(labeled_set.formation), labeled_set.decode()
    copies = rule.is_copy(search.embed(decoded.pixels))
    removed = _count_classes(decoded, copies)
    _check_classes_left(decoded, removed)
    kept = torch.from_numpy(np.flatnonzero(~copies))
    soft = None if decoded.soft_labels is None else decoded.soft_labels[kept]
    pixels = decoded.pixels[kept]
    pixels = pixels if labeled_set.formation == 1 else to_stored_dtype(pixels, spec)
    null = int(rule.is_copy(rule.null).sum())
    low, high = clopper_pearson(null, len(rule.null))
    record: dict[str, object] = {
        "rule": "correlation with a training image above tau",
        "tau": rule.threshold,
        "images": len(copies),
        "removed": int(copies.sum()),
        "removed_by_class": {
            name: number for name, number in zip(spec.balance_groups, removed.tolist(), strict=True) if number
        },
        "null_rate": null / len(rule.null),
        "null_low": low,
        "null_high": high,
        "null_images": len(rule.null),
        "split": split,
        "training_images": len(rule.train),
        "embedding_steps": search.steps,
        "seed": seed,
        "decoded_formation": labeled_set.formation,
    }
    return replace(decoded, pixels=pixels, labels=decoded.labels[kept], soft_labels=soft), record


def _count_classes(decoded: LabeledSet, rows: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the number of chosen images of each balance group."""
    groups = decoded.labels if decoded.labels.ndim == 1 else decoded.spec.group_indices(decoded.labels)
    return np.bincount(groups.numpy()[rows], minlength=len(decoded.spec.balance_groups)).astype(np.int64)


def _check_classes_left(decoded: LabeledSet, removed: NDArray[np.int64]) -> None:
    """Raise ValueError if all images of a class are removed."""
    before = _count_classes(decoded, np.ones(len(decoded.labels), np.bool_))
    empty = np.flatnonzero((before > 0) & (before == removed))
    if len(empty):
        name = decoded.spec.balance_groups[int(empty[0])]
        others = f" (and of {len(empty) - 1} further classes)" if len(empty) > 1 else ""
        raise ValueError(
            f"all {before[empty[0]]} images of class {name!r}{others} are near copies of training images, no set was "
            "written; generate or distil the set again with another seed, or fewer training steps of the generator"
        )
