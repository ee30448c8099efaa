"""Selection of the images: every synthetic image gets a real partner of the same class, so that chance is 50 %."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lightning_distill.reader_study.pictures import Picture, to_pictures
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.spec import DataSpec

Truth = Literal["real", "synthetic"]
#: Labels of an image as a tuple: its class, or a 0/1 entry for each label of multi-label data.
Group = tuple[int, ...]
#: Largest number of images of a set where the command names none.
DEFAULT_ITEMS = 50


@dataclass(frozen=True)
class ShownImage:
    """Image of the study.

    Args:
        picture: Picture ``(H, W, C)`` uint8.
        truth: ``real`` or ``synthetic``.
        set_name: Name of the set that the image belongs to or is compared with.
        class_name: Name of the class, or of the label combination.
        row: Row of the image in the decoded set, or in the split of the real data.
    """

    picture: Picture
    truth: Truth
    set_name: str
    class_name: str
    row: int


@dataclass(frozen=True)
class Pair:
    """Synthetic image and its real partner of the same class."""

    synthetic: ShownImage
    real: ShownImage


@dataclass(frozen=True)
class Selection:
    """Pairs of the study and of the practice block, without a common image."""

    study: list[Pair]
    practice: list[Pair]


def check_set(name: str, labeled_set: LabeledSet, spec: DataSpec) -> None:
    """Check that images of a set can be shown beside real ones.

    Args:
        name: Name of the set.
        labeled_set: Set.
        spec: Description of the real data.

    Raises:
        ValueError: Shape, classes or pixel range differ, or the images have neither one nor three channels.
    """
    own = labeled_set.spec
    if own.shape != spec.shape or own.class_names != spec.class_names:
        raise ValueError(
            f"the set {name} has images {own.shape} of {', '.join(own.class_names)}; {spec.name} has {spec.shape} of "
            f"{', '.join(spec.class_names)}; give the data that the set was made from"
        )
    if spec.shape[0] not in (1, 3):
        raise ValueError(f"images of {spec.shape[0]} channels cannot be shown; a reader study needs 1 or 3")
    ranges = [(part.min_value, part.max_value) for part in (own, spec)]
    if not np.allclose(ranges[0], ranges[1], rtol=1e-3):
        raise ValueError(
            f"pixels of the set {name} are from {ranges[0][0]:g} to {ranges[0][1]:g}, those of {spec.name} from "
            f"{ranges[1][0]:g} to {ranges[1][1]:g}: brightness would tell them apart; use data of the same range"
        )


def select_images(
    sets: Mapping[str, LabeledSet],
    real: tuple[NDArray[np.generic], NDArray[np.generic]],
    spec: DataSpec,
    items: int | None = None,
    practice: int = 6,
    seed: int = 0,
) -> Selection:
    """Draw images of every set in equal numbers a class, and a different real partner of the class for each.

    Args:
        sets: Sets by name; sub-images are decoded.
        real: Real images ``(N, C, H, W)`` and their labels ``(N,)`` or 0/1 rows ``(N, K)``.
        spec: Description of the real data.
        items: Number of synthetic images of each set. ``None``: as many as there are, at most `DEFAULT_ITEMS`.
        practice: Number of pairs of the practice block, drawn from the images that are left.
        seed: Seed of the selection.

    Raises:
        ValueError: A set does not fit the data, or there are fewer pairs than asked for.
    """
    for name, labeled_set in sets.items():
        check_set(name, labeled_set, spec)
    random = np.random.default_rng(seed)
    decoded = {name: labeled_set.decode() for name, labeled_set in sets.items()}
    reserve = math.ceil(practice / len(sets))
    rows = _match(decoded, _groups_of_real(real[1]), (items or DEFAULT_ITEMS) + reserve, random)
    fewest = min(rows, key=lambda name: len(rows[name]))
    found = len(rows[fewest])
    count = items or max(1, min(DEFAULT_ITEMS, found - reserve))
    if found < count:
        raise ValueError(
            f"the set {fewest} gives {found} images with a real partner of their class, {count} are asked for; lower "
            "--items, or use --split with more images"
        )
    pairs = {name: _pairs(name, decoded[name], chosen, real, spec) for name, chosen in rows.items()}
    turns = zip_longest(*(own[count : count + reserve] for own in pairs.values()))
    left = [pair for turn in turns for pair in turn if pair is not None]
    return Selection([pair for own in pairs.values() for pair in own[:count]], left[:practice])


def _match(
    sets: Mapping[str, LabeledSet], real: Sequence[Group], needed: int, random: np.random.Generator
) -> dict[str, list[tuple[int, int, Group]]]:
    """Return rows ``(synthetic, real)`` of the pairs of each set; sets take turns at the real images."""
    pools: dict[Group, list[int]] = {}
    for row in random.permutation(len(real)).tolist():
        pools.setdefault(real[row], []).append(row)
    queues = {name: _by_turns(_groups_of_set(labeled_set), random) for name, labeled_set in sets.items()}
    chosen: dict[str, list[tuple[int, int, Group]]] = {name: [] for name in sets}
    for _ in range(needed):
        for name, queue in queues.items():
            while queue:
                row, group = queue.pop(0)
                if pools.get(group):
                    chosen[name].append((row, pools[group].pop(), group))
                    break
    return chosen


def _by_turns(groups: Sequence[Group], random: np.random.Generator) -> list[tuple[int, Group]]:
    """Return all rows in random order, one of each class after the other."""
    turns: dict[Group, int] = {}
    ordered = []
    for row in random.permutation(len(groups)).tolist():
        group = groups[row]
        turns[group] = turns.get(group, 0) + 1
        ordered.append((turns[group], random.random(), row, group))
    return [(row, group) for _, _, row, group in sorted(ordered)]


def _pairs(
    name: str,
    labeled_set: LabeledSet,
    rows: Sequence[tuple[int, int, Group]],
    real: tuple[NDArray[np.generic], NDArray[np.generic]],
    spec: DataSpec,
) -> list[Pair]:
    if not rows:
        return []
    synthetic = to_pictures(labeled_set.pixels[[row for row, _, _ in rows]], spec)
    images = np.stack([np.asarray(real[0][row]) for _, row, _ in rows])
    partners = to_pictures(torch.from_numpy(images), spec)
    pairs = []
    for index, (row, partner, group) in enumerate(rows):
        label = _group_name(group, spec)
        shown = ShownImage(synthetic[index], "synthetic", name, label, row)
        pairs.append(Pair(shown, ShownImage(partners[index], "real", name, label, partner)))
    return pairs


def _groups_of_set(labeled_set: LabeledSet) -> list[Group]:
    labels = labeled_set.labels
    return _tuples(labels if labels.ndim == 2 else labeled_set.spec.targets(labels))


def _groups_of_real(labels: NDArray[np.generic]) -> list[Group]:
    return _tuples(torch.from_numpy(np.asarray(labels).astype(np.int64)))


def _tuples(labels: Tensor) -> list[Group]:
    rows = labels.long() if labels.ndim == 2 else labels.long()[:, None]
    return [tuple(row) for row in rows.tolist()]


def _group_name(group: Group, spec: DataSpec) -> str:
    if not spec.multi_label:
        return spec.class_names[group[0]]
    return " + ".join(name for name, has in zip(spec.class_names, group, strict=True) if has) or "none"
