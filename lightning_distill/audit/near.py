"""Images that are nearly there twice: another frame of the same recording, an enlarged, marked or compressed copy."""

from __future__ import annotations

from collections.abc import Set
from itertools import combinations

import numpy as np

from lightning_distill.audit.findings import Finding, Place, Tick, Where
from lightning_distill.audit.likeness import Features, Likeness, nearest
from lightning_distill.data.groups import Rows
from lightning_distill.data.splits import Given

#: Training images whose neighbours of other patients tell what chance alone gives, and neighbours looked through.
CONTROLS, NEIGHBOURS = 2000, 20


def find_near(
    given: Given,
    threshold: float,
    skip: Set[Where] = frozenset(),
    tick: Tick = lambda images: None,
) -> tuple[list[Place], float | None]:
    """Images whose nearest one in an earlier split is as like as the threshold, the most alike first.

    Args:
        given: the data.
        threshold: of `likeness.Likeness`.
        skip: splits and rows to leave out: exact copies, which are told of elsewhere, and constant images.
        tick: called with the number of images looked at.

    Returns:
        The images; and, where train says whose its images are, the share of its images that have one as like of
        another patient, which is what chance gives.
    """
    likeness = Likeness(given.splits["train"][0])
    features: dict[str, Features] = {}
    for split, (images, _) in given.splits.items():
        parts = []
        for part in likeness.features(images):
            parts.append(part)
            tick(len(part))
        features[split] = np.concatenate(parts)
    found = []
    for earlier, later in combinations(given.splits, 2):
        start = 0
        for rows, values in nearest(features[earlier], features[later]):
            for row in np.flatnonzero(values[:, 0] >= threshold):
                if (later, start + int(row)) not in skip:
                    found.append(Place(later, start + int(row), earlier, int(rows[row, 0]), float(values[row, 0])))
            start += len(rows)
            tick(len(rows))
    chance = None
    if "train" in given.groups:
        chance = chance_level(features["train"], given.groups["train"], threshold)
    return sorted(found, key=lambda place: -(place.value or 0)), chance


def chance_level(features: Features, groups: Rows, threshold: float, seed: int = 0) -> float | None:
    """The share of images whose nearest one of another group is as like as the threshold; ``None`` for one group only.

    Args:
        features: ``(N, F)``.
        groups: ``(N,)``.
        threshold: of the likeness.
        seed: of the choice of `CONTROLS` images, where there are more.
    """
    if len(np.unique(groups)) < 2:
        return None
    chosen = np.random.default_rng(seed).permutation(len(groups))[:CONTROLS]
    alike, start = 0, 0
    for rows, values in nearest(features, features[chosen], NEIGHBOURS):
        other = groups[rows] != groups[chosen[start : start + len(rows)], None]  # (n, NEIGHBOURS)
        alike += int((other & (values >= threshold)).any(1).sum())
        start += len(rows)
    return alike / len(chosen)


def judge_near(near: list[Place], chance: float | None, given: Given, threshold: float) -> Finding:
    """Near copies warn: some may be two pictures that look alike."""
    labels = {split: labels for split, (_, labels) in given.splits.items()}
    images = {place.where for place in near}
    count, later = len(images), sum(len(labels[split]) for split in list(labels)[1:])
    level = "" if chance is None else f"; chance gives {100 * chance:.2g} % in train"
    if not later:
        return Finding("nearly the same image in two splits", "unknown", 0, "there is one split only")
    if not count:
        return Finding("nearly the same image in two splits", "ok", 0, f"none from {threshold:g} on{level}")
    other = sum(
        not np.array_equal(labels[place.split][place.row], labels[place.other_split][place.other_row]) for place in near
    )
    shares = f"{count:,} of {later:,} later images ({100 * count / later:.2g} %) from {threshold:g} on"
    torn = f", {other:,} with another label" if other else ""
    return Finding("nearly the same image in two splits", "warns", count, f"{shares}{torn}{level}", tuple(near))
