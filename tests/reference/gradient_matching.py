"""Gradient distances in plain loops, float64, written from the formulas."""

from __future__ import annotations

import math

import numpy as np


def rowwise(real, synthetic) -> tuple[float, int]:
    """The sum over rows of one minus their cosine, and the number of rows."""
    total, terms = 0.0, 0
    for a, b in zip(real, synthetic, strict=True):
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        if a.ndim == 1:
            continue
        for row in range(a.shape[0]):
            u, v = a[row].ravel(), b[row].ravel()
            dot = norm_u = norm_v = 0.0
            for x, y in zip(u, v, strict=True):
                dot += x * y
                norm_u += x * x
                norm_v += y * y
            total += 1 - dot / (math.sqrt(norm_u) * math.sqrt(norm_v) + 1e-6)
            terms += 1
    return total, terms


def mse(real, synthetic) -> float:
    """Squared distance of all gradients, vectors included."""
    return sum(
        (float(x) - float(y)) ** 2
        for a, b in zip(real, synthetic, strict=True)
        for x, y in zip(np.asarray(a).ravel(), np.asarray(b).ravel(), strict=True)
    )


def cosine(real, synthetic) -> float:
    """One minus the cosine of everything as one vector."""
    u = [float(x) for a in real for x in np.asarray(a).ravel()]
    v = [float(x) for b in synthetic for x in np.asarray(b).ravel()]
    dot = sum(x * y for x, y in zip(u, v, strict=True))
    return 1 - dot / (math.sqrt(sum(x * x for x in u)) * math.sqrt(sum(y * y for y in v)) + 1e-6)
