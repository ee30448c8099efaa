"""Find near-duplicates across splits: frames of one recording and enlarged, marked, mirrored or shifted copies."""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lightning_distill.audit.findings import Finding, ImageCountCallback, Place, Where
from lightning_distill.audit.image_checks import chunks
from lightning_distill.audit.similarity import Features, ImageSimilarity, nearest, small
from lightning_distill.audit.transforms import TransformFamily, families
from lightning_distill.data.checks.arrays import Array
from lightning_distill.data.checks.groups import Rows
from lightning_distill.data.checks.splits import RawSplits

#: Number of training images used to estimate the rate of chance matches between patients.
CONTROLS = 2000


@dataclass(frozen=True)
class NearDuplicates:
    """Result of the search for near-duplicates.

    Args:
        places: Images with a near-duplicate in an earlier split, by decreasing similarity.
        chance: Fraction of training images with an equally similar image of another patient; ``None`` if train has no
            patient groups.
    """

    places: tuple[Place, ...]
    chance: float | None


def find_near_duplicates(
    data: RawSplits,
    threshold: float,
    skip: Set[Where] = frozenset(),
    on_progress: ImageCountCallback = lambda images: None,
) -> NearDuplicates:
    """Return images with a nearest neighbour in an earlier split above a similarity threshold, over all transforms.

    An image is reported once per earlier split: untransformed matches first, then rotations and mirroring, then
    shifts.

    Args:
        data: Raw splits and groups.
        threshold: Smallest similarity (`similarity.ImageSimilarity`) of a near-duplicate.
        skip: Splits and rows to ignore: exact copies, which are reported separately, and constant images.
        on_progress: Function that is called with the number of processed images.
    """
    train, groups = data.splits["train"][0], data.groups.get("train")
    duplicates: dict[tuple[str, Where], Place] = {}
    controls = None if groups is None else controls_of(groups)
    chance_hits = np.zeros(0 if controls is None else len(controls), bool)
    for family in families(*train.shape[2:]):
        similarity, least = ImageSimilarity(train, family.straight), family.threshold_for(threshold)
        pools: dict[str, Features] = {}
        for split, (images, _) in data.splits.items():
            pools[split] = np.concatenate(list(similarity.features(images)))
            on_progress(len(images))
        for earlier, later in combinations(data.splits, 2):
            images, _ = data.splits[later]
            for row, match in enumerate(matches(similarity, family, pools[earlier], images)):
                place = Place(later, row, earlier, match.row, match.value, match.kind)
                if match.value >= least and place.where not in skip:
                    duplicates.setdefault((earlier, place.where), place)
            on_progress(len(images))
        if groups is not None and controls is not None:
            chance_hits |= matches_of_controls(
                similarity, family, pools["train"], train[controls], groups, controls, least
            )
    chance = float(chance_hits.mean()) if len(chance_hits) else None
    return NearDuplicates(tuple(sorted(duplicates.values(), key=lambda place: -(place.value or 0))), chance)


class Match(NamedTuple):
    """Most similar image of a pool: its row, the similarity and the transform."""

    row: int
    value: float
    kind: str


def matches(similarity: ImageSimilarity, family: TransformFamily, pool: Features, images: Array) -> Iterator[Match]:
    """Yield the best match in a pool ``(M, F)`` for each image of ``(N, C, H, W)``, over all views of a family."""
    for _, part in chunks(images):
        reduced, names = small(part), list(family.views)
        matches_by_view = [nearest(pool, similarity.transform(reduced, view)) for view in family.views.values()]
        rows, values = (np.stack(arrays, 1) for arrays in zip(*matches_by_view, strict=True))  # (n, views)
        for row, (view_number, value) in enumerate(zip(values.argmax(1), values.max(1), strict=True)):
            yield Match(int(rows[row, view_number]), float(value), names[view_number])


def controls_of(groups: Rows, seed: int = 0) -> NDArray[np.int64]:
    """Return the rows of up to `CONTROLS` random images; none if all images belong to one patient.

    Args:
        groups: Patient number of each image ``(N,)``.
        seed: Seed of the random choice.
    """
    if len(np.unique(groups)) < 2:
        return np.zeros(0, np.int64)
    return np.random.default_rng(seed).permutation(len(groups))[:CONTROLS]


def matches_of_controls(
    similarity: ImageSimilarity,
    family: TransformFamily,
    pool: Features,
    images: Array,
    groups: Rows,
    controls: NDArray[np.int64],
    threshold: float,
) -> NDArray[np.bool_]:
    """Return whether each control image has a match from another patient above the threshold ``(n,)``.

    Args:
        similarity: Similarity measure of the family.
        family: Transforms to undo.
        pool: Features ``(N, F)`` of all training images.
        images: Control images ``(n, C, H, W)``.
        groups: Patient number of each training image ``(N,)``.
        controls: Rows of the control images ``(n,)``.
        threshold: Smallest similarity of a match.
    """
    hits = np.zeros(len(images), bool)
    for view in family.views.values():
        done = 0
        for _, part in chunks(images):
            rows = slice(done, done + len(part))
            _, values = nearest(pool, similarity.transform(small(part), view), groups, groups[controls[rows]])
            hits[rows] |= values >= threshold
            done += len(part)
    return hits


def report_near_copies(near: NearDuplicates, data: RawSplits, threshold: float, max_near: float) -> Finding:
    """Report near-duplicates, which warn, or block if their fraction of a split exceeds ``max_near``.

    Args:
        near: Result of the search.
        data: Raw splits.
        threshold: Similarity threshold of the search.
        max_near: Largest fraction of a split that does not block.
    """
    check = "nearly the same image in two splits"
    labels = {split: labels for split, (_, labels) in data.splits.items()}
    later = list(labels)[1:]
    total = sum(len(labels[split]) for split in later)
    level = "" if near.chance is None else f"; chance level in train: {_percent(near.chance)}"
    if not later:
        return Finding(check, "unknown", 0, "there is only one split")
    if not near.places:
        return Finding(check, "ok", 0, f"none at similarity {threshold:g} or more{level}")
    kinds = {place.where: place.kind for place in reversed(near.places)}
    shares = {split: sum(where[0] == split for where in kinds) / len(labels[split]) for split in later}
    text = (
        f"{len(kinds):,} of {total:,} later images ({_percent(len(kinds) / total)}) at similarity {threshold:g} or more"
    )
    transformed = sum(bool(kind) for kind in kinds.values())
    relabelled = sum(
        not np.array_equal(labels[place.split][place.row], labels[place.other_split][place.other_row])
        for place in near.places
    )
    text += f", {transformed:,} mirrored, rotated or shifted" if transformed else ""
    text += f", {relabelled:,} with another label" if relabelled else ""
    exceeded = [f"{_percent(share)} of {split}" for split, share in shares.items() if share > max_near]
    if exceeded:
        text += f"; {' and '.join(exceeded)}, more than max_near={max_near:g}: split again, or remove them"
    return Finding(check, "blocks" if exceeded else "warns", len(kinds), text + level, near.places)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.1 else f"{100 * share:.2g} %"
