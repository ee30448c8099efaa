"""The squared maximum mean discrepancy in plain loops and float64, written from the formula."""

from __future__ import annotations

import math


def squared(a, b) -> float:
    return sum((float(x) - float(y)) ** 2 for x, y in zip(a, b, strict=True))


def mean_distance(rows) -> float:
    pairs = [squared(a, b) for i, a in enumerate(rows) for j, b in enumerate(rows) if i != j]
    return sum(pairs) / len(pairs)


def gaussian_mmd(real, synthetic) -> float:
    h = mean_distance([*real, *synthetic])

    def mean_kernel(xs, ys) -> float:
        values = [math.exp(-squared(x, y) / (w * h)) for x in xs for y in ys for w in (0.25, 0.5, 1, 2, 4)]
        return sum(values) / len(values)

    return h * (mean_kernel(real, real) + mean_kernel(synthetic, synthetic) - 2 * mean_kernel(real, synthetic))
