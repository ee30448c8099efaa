"""Membership attacks: functions from `Evidence` to a score for each candidate, larger for members."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightning_distill.leakage.attacks.calibrated_distance import calibrated_distance
from lightning_distill.leakage.attacks.correlation_distance import correlation_distance
from lightning_distill.leakage.attacks.embedding_distance import embedding_distance
from lightning_distill.leakage.attacks.lira_offline import lira_offline
from lightning_distill.leakage.attacks.lira_online import lira_online
from lightning_distill.leakage.attacks.loss import loss
from lightning_distill.leakage.attacks.pixel_distance import pixel_distance
from lightning_distill.leakage.attacks.rmia import rmia
from lightning_distill.leakage.attacks.shipped_statistics import shipped_statistics
from lightning_distill.leakage.evidence import Evidence

__all__ = ["ATTACKS", "Attack", "applicable"]


@dataclass(frozen=True)
class Attack:
    """A membership attack.

    Args:
        score: Function from the evidence to a score for each candidate, ``(k,)``, larger for members.
        label: Description in tables and on the data sheet.
        online: Whether it needs references that were made from the candidate.
        space: Space of the distances that it needs; empty for none.
        statistics: Whether it needs shipped statistics that differ between sets.
    """

    score: Callable[[Evidence], NDArray[np.float64]]
    label: str
    online: bool = False
    space: str = ""
    statistics: bool = False


#: All attacks by name.
ATTACKS = {
    "lira_online": Attack(lira_online, "LiRA, shadow sets with and without the image", online=True),
    "lira_offline": Attack(lira_offline, "LiRA, shadow sets without the image"),
    "rmia": Attack(rmia, "RMIA, offline"),
    "loss": Attack(loss, "loss of one network trained on the set"),
    "pixel_distance": Attack(pixel_distance, "nearest image of the set, pixels", space="pixels"),
    "correlation_distance": Attack(correlation_distance, "most correlated image of the set", space="correlation"),
    "embedding_distance": Attack(embedding_distance, "nearest image of the set, embedding", space="embedding"),
    "calibrated_distance": Attack(calibrated_distance, "nearest image, relative to shadow sets", space="pixels"),
    "shipped_statistics": Attack(shipped_statistics, "mean and standard deviation in the file", statistics=True),
}


def applicable(evidence: Evidence) -> list[str]:
    """Return the names of the attacks that the evidence allows.

    Args:
        evidence: Measurements of target and references.
    """
    differ = bool(np.ptp(evidence.reference_statistics, axis=0).any())
    return [
        name
        for name, attack in ATTACKS.items()
        if (evidence.in_references or not attack.online)
        and (not attack.space or attack.space in evidence.distances)
        and (differ or not attack.statistics)
    ]
