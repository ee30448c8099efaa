"""DM's loss in plain loops and float64, written from the formula."""

from __future__ import annotations


def mean_embedding_distance(real, synthetic) -> float:
    features = len(real[0])
    total = 0.0
    for f in range(features):
        real_mean = sum(float(row[f]) for row in real) / len(real)
        synthetic_mean = sum(float(row[f]) for row in synthetic) / len(synthetic)
        total += (real_mean - synthetic_mean) ** 2
    return total
