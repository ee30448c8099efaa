"""Exposed images, patients and classes: an average hides the few that are found every time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightning_distill.leakage.rates import LOW_FPRS, attack_rates, threshold_at
from lightning_distill.utils.statistics import clopper_pearson

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
#: Number of listed images and patients.
LISTED = 10


@dataclass(frozen=True)
class Exposed:
    """An image or patient that an attack finds.

    Args:
        number: Row of the image in the training split, or number of the patient.
        found: Number of sets made from it in which the attack called it a member.
        runs: Number of sets made from it.
        wrongly: Number of sets made without it in which the attack called it a member.
        others: Number of sets made without it.
    """

    number: int
    found: int
    runs: int
    wrongly: int
    others: int


def most_exposed(scores: Floats, members: Flags, fpr: float) -> list[Exposed]:
    """Return the images or patients with the largest share of true calls less that of false ones.

    Args:
        scores: Scores ``(T, n)`` in T targets.
        members: Membership ``(T, n)``.
        fpr: False positive rate of the threshold, over all images and targets.
    """
    called = scores > threshold_at(scores[~members], fpr)
    found, runs = (called & members).sum(0), members.sum(0)
    wrongly, others = (called & ~members).sum(0), (~members).sum(0)
    difference = found / np.maximum(runs, 1) - wrongly / np.maximum(others, 1)
    order = np.argsort(-difference, kind="stable")[:LISTED]
    return [Exposed(int(i), int(found[i]), int(runs[i]), int(wrongly[i]), int(others[i])) for i in order]


def worst_class(scores: Floats, members: Flags, strata: NDArray[np.int64]) -> tuple[int, float]:
    """Return the class with the largest AUC, and that AUC.

    Args:
        scores: Scores ``(T, n)`` in T targets.
        members: Membership ``(T, n)``.
        strata: Class of each image ``(n,)``; -1 for none.
    """
    aucs = {}
    for label in np.unique(strata[strata >= 0]):
        own = strata == label
        if members[:, own].any(1).all() and (~members[:, own]).any(1).all():
            aucs[int(label)] = attack_rates(scores[:, own], members[:, own], int(own.sum())).auc
    worst = max(aucs, key=lambda label: aucs[label])
    return worst, aucs[worst]


def started_rate(scores: Floats, members: Flags, started: Flags, least: float) -> dict[str, float] | None:
    """Return the true positive rate among the images that the sets started from, or that they hold.

    Args:
        scores: Scores ``(T, n)`` in T targets.
        members: Membership ``(T, n)``.
        started: Images that each set started from, ``(T, n)``.
        least: Smallest resolvable false positive rate.

    Returns:
        False positive rate, true positive rate with its 95 % interval, and the number of different images; ``None``
        where no set started from real images.
    """
    if not started.any():
        return None
    fpr = max(least, min(LOW_FPRS))
    called = scores > threshold_at(scores[~members], fpr)
    value, images = float(called[started].mean()), int(started.any(0).sum())
    low, high = clopper_pearson(value * images, images)
    return {"fpr": fpr, "tpr": value, "low": low, "high": high, "images": images}


def by_unit(scores: Floats, units: NDArray[np.int64]) -> Floats:
    """Return the largest score of each patient's images, ``(T, patients)``; for distances the nearest image.

    Args:
        scores: Scores ``(T, n)``.
        units: Patient of each image, numbered from 0, ``(n,)``.
    """
    result = np.full((len(scores), int(units.max()) + 1), -np.inf)
    for own, row in zip(result, scores, strict=True):
        np.maximum.at(own, units, row)
    return result
