"""Images that are nearly there twice: another frame of the same recording, an enlarged, marked, mirrored copy."""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_distill.audit.findings import Finding, Place, ProgressCallback, Where
from lightning_distill.audit.image_checks import chunks
from lightning_distill.audit.similarity import Features, ImageSimilarity, nearest, small
from lightning_distill.audit.transforms import TransformFamily, families
from lightning_distill.data.checks.arrays import Array
from lightning_distill.data.checks.groups import Rows
from lightning_distill.data.checks.splits import RawSplits

#: Training images whose nearest ones of other patients tell what chance alone gives.
CONTROLS = 2000


@dataclass(frozen=True)
class NearDuplicates:
    """What the search has found.

    Args:
        places: images that are nearly one of an earlier split, the most alike first.
        chance: where train says whose its images are, the share of its images that have one as like of another
            patient, which is what chance gives; else ``None``.
    """

    places: tuple[Place, ...]
    chance: float | None


def find_near_duplicates(
    given: RawSplits,
    threshold: float,
    skip: Set[Where] = frozenset(),
    tick: ProgressCallback = lambda images: None,
) -> NearDuplicates:
    """Images whose nearest one in an earlier split is as like as the threshold, as it lies or after a move is undone.

    Of an image that is found as it lies, no move is told; of one that is found mirrored or turned, no shift.

    Args:
        given: the data.
        threshold: of `likeness.ImageSimilarity`.
        skip: splits and rows to leave out: exact copies, which are told of elsewhere, and constant images.
        tick: called with the number of images looked at.
    """
    train, groups = given.splits["train"][0], given.groups.get("train")
    found: dict[tuple[str, Where], Place] = {}
    controls = None if groups is None else controls_of(groups)
    strays = np.zeros(0 if controls is None else len(controls), bool)
    for family in families(*train.shape[2:]):
        likeness, least = ImageSimilarity(train, family.straight), family.threshold_for(threshold)
        pools: dict[str, Features] = {}
        for split, (images, _) in given.splits.items():
            pools[split] = np.concatenate(list(likeness.features(images)))
            tick(len(images))
        for earlier, later in combinations(given.splits, 2):
            images, _ = given.splits[later]
            for row, match in enumerate(matches(likeness, family, pools[earlier], images)):
                place = Place(later, row, earlier, match.row, match.value, match.kind)
                if match.value >= least and place.where not in skip:
                    found.setdefault((earlier, place.where), place)
            tick(len(images))
        if groups is not None and controls is not None:
            strays |= matches_of_controls(likeness, family, pools["train"], train[controls], groups, controls, least)
    chance = float(strays.mean()) if len(strays) else None
    return NearDuplicates(tuple(sorted(found.values(), key=lambda place: -(place.value or 0))), chance)


class Match(NamedTuple):
    """The image of a pool that is most like another one, how like, and by which move."""

    row: int
    value: float
    kind: str


def matches(likeness: ImageSimilarity, family: TransformFamily, pool: Features, images: Array) -> Iterator[Match]:
    """For each of the images ``(N, C, H, W)`` the best match in a pool ``(M, F)``, over all looks of the family."""
    for _, part in chunks(images):
        reduced, names = small(part), list(family.views)
        seen = [nearest(pool, likeness.num_components(reduced, look)) for look in family.views.values()]
        rows, values = (np.stack(arrays, 1) for arrays in zip(*seen, strict=True))  # (n, looks)
        for row, (place, value) in enumerate(zip(values.argmax(1), values.max(1), strict=True)):
            yield Match(int(rows[row, place]), float(value), names[place])


def controls_of(groups: Rows, seed: int = 0) -> NDArray[np.int64]:
    """Rows of up to `CONTROLS` images, drawn at random; none where all are of one patient.

    Args:
        groups: ``(N,)``, the patient of each image.
        seed: of the draw.
    """
    if len(np.unique(groups)) < 2:
        return np.zeros(0, np.int64)
    return np.random.default_rng(seed).permutation(len(groups))[:CONTROLS]


def matches_of_controls(
    likeness: ImageSimilarity,
    family: TransformFamily,
    pool: Features,
    images: Array,
    groups: Rows,
    controls: NDArray[np.int64],
    threshold: float,
) -> NDArray[np.bool_]:
    """Which of some images ``(n, C, H, W)`` have one of another patient that is as like as the threshold, ``(n,)``.

    Args:
        likeness: of the family.
        family: its looks are tried in turn.
        pool: features ``(N, F)`` of all images.
        images: some of them.
        groups: ``(N,)``, the patient of each image.
        controls: ``(n,)``, the rows of the images.
        threshold: of the likeness.
    """
    hits = np.zeros(len(images), bool)
    for look in family.views.values():
        done = 0
        for _, part in chunks(images):
            place = slice(done, done + len(part))
            _, values = nearest(pool, likeness.num_components(small(part), look), groups, groups[controls[place]])
            hits[place] |= values >= threshold
            done += len(part)
    return hits


def report_near_copies(near: NearDuplicates, given: RawSplits, threshold: float, max_near: float) -> Finding:
    """Near copies warn, as some may be two pictures that look alike; where a split has too many of them they block."""
    check = "nearly the same image in two splits"
    labels = {split: labels for split, (_, labels) in given.splits.items()}
    later = list(labels)[1:]
    total = sum(len(labels[split]) for split in later)
    level = "" if near.chance is None else f"; chance gives {_percent(near.chance)} in train"
    if not later:
        return Finding(check, "unknown", 0, "there is one split only")
    if not near.places:
        return Finding(check, "ok", 0, f"none from {threshold:g} on{level}")
    kinds = {place.where: place.kind for place in reversed(near.places)}
    shares = {split: sum(where[0] == split for where in kinds) / len(labels[split]) for split in later}
    told = f"{len(kinds):,} of {total:,} later images ({_percent(len(kinds) / total)}) from {threshold:g} on"
    moved = sum(bool(kind) for kind in kinds.values())
    other = sum(
        not np.array_equal(labels[place.split][place.row], labels[place.other_split][place.other_row])
        for place in near.places
    )
    told += f", {moved:,} mirrored, turned or shifted" if moved else ""
    told += f", {other:,} with another label" if other else ""
    over = [f"{_percent(share)} of {split}" for split, share in shares.items() if share > max_near]
    if over:
        told += f"; {' and '.join(over)}, more than max_near={max_near:g}: split anew, or leave them out"
    return Finding(check, "blocks" if over else "warns", len(kinds), told + level, near.places)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"
