"""The share of the expert's way that is left, in plain loops and float64, written from the formula."""

from __future__ import annotations

import numpy as np


def trajectory_distance(student, start, target) -> float:
    """Squared distance from student to target over that from start to target, all numbers of all tensors together."""
    left = covered = 0.0
    for s, a, b in zip(student, start, target, strict=True):
        numbers = (np.asarray(tensor, np.float64).ravel() for tensor in (s, a, b))
        for here, begun, goal in zip(*numbers, strict=True):
            left += (here - goal) ** 2
            covered += (begun - goal) ** 2
    return left / covered
