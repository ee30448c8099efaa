"""Random halves of the patients: the training data of shadow sets."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lightning_distill.utils.arguments import check_number

#: Least number of shadow sets: with fewer the score distributions of an image cannot be estimated.
MIN_SHADOWS = 8
#: Number of draws until a half is given up that lacks a class.
DRAWS = 100


def draw_halves(
    strata: NDArray[np.int64], units: NDArray[np.int64], shadows: int, seed: int, names: tuple[str, ...]
) -> NDArray[np.bool_]:
    """Draw random halves of the patients, in pairs: shadow 2k + 1 is made from the patients that shadow 2k lacks.

    Each image is thereby in exactly half of the shadows, and stays in exactly half of the others where one pair is
    left out. An attack on a target of a pair uses the other pairs only, so that no count tells the membership.
    Patients are drawn within the class that is rarest among their images.

    Args:
        strata: Class of each image ``(n,)``; -1 for images without a class.
        units: Patient of each image, numbered from 0, ``(n,)``.
        shadows: Number of halves, even and at least 8.
        seed: Seed of the halves.
        names: Name of each class.

    Returns:
        Membership ``(shadows, n)`` of the images.

    Raises:
        ValueError: There are fewer than 8 shadows or an odd number, or a half would lack a class; the message names it.

    Example:
        >>> halves = draw_halves(np.arange(8) % 2, np.arange(8), 8, seed=0, names=("a", "b"))
        >>> halves.sum(1).tolist(), halves.sum(0).tolist()
        ([4, 4, 4, 4, 4, 4, 4, 4], [4, 4, 4, 4, 4, 4, 4, 4])
    """
    check_shadows(shadows)
    counts = np.bincount(strata[strata >= 0], minlength=len(names))
    for label, name in enumerate(names):
        if len(present := np.unique(units[strata == label])) < 2:
            raise ValueError(
                f"class {name!r} has {len(present)} patient{'s' * (len(present) != 1)} with {counts[label]} images: "
                "every random half but one would lack it; leave the class out or merge it with another"
            )
    number = int(units.max()) + 1
    rarity = np.where(strata >= 0, counts[strata], counts.max() + 1)
    order = np.argsort(-rarity, kind="stable")  # the rarest class of a patient is written last
    kinds = np.full(number, -1)
    kinds[units[order]] = strata[order]
    random, halves = np.random.default_rng(seed), []
    for _ in range(shadows // 2):
        for _ in range(DRAWS):
            half = _half(kinds, random)[units]
            lacking = [name for label, name in enumerate(names) if not _both(half, strata == label)]
            if not lacking:
                break
        else:
            raise ValueError(
                f"a random half of the patients lacks the class {lacking[0]!r}: its images are of too few patients; "
                "leave the class out or merge it with another"
            )
        halves += [half, ~half]
    return np.stack(halves)


def check_shadows(shadows: int) -> None:
    """Raise ValueError for a number of shadows that is odd or below 8.

    Args:
        shadows: Number of shadow sets.
    """
    check_number("shadows", shadows, 1, integer=True)
    if shadows < MIN_SHADOWS or shadows % 2:
        raise ValueError(
            f"shadows={shadows}; an even number of at least {MIN_SHADOWS} is needed to estimate scores with and "
            "without an image, e.g. 16"
        )


def _half(kinds: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.bool_]:
    """Return a random half ``(patients,)`` that takes half of the patients of each kind."""
    half = np.zeros(len(kinds), bool)
    for kind in np.unique(kinds):
        own = random.permutation(np.flatnonzero(kinds == kind))
        half[own[: len(own) // 2 + int(len(own) % 2 and random.integers(2))]] = True
    return half


def _both(half: NDArray[np.bool_], own: NDArray[np.bool_]) -> bool:
    """Return whether a half and its complement both hold an image of a class."""
    return bool((half & own).any() and (~half & own).any())
