"""NCFM's loss with complex numbers in float64, written from the formula."""

from __future__ import annotations

import cmath
import math


def characteristic_function(features, t) -> complex:
    total = 0j
    for row in features:
        length = math.sqrt(sum(float(x) ** 2 for x in row))
        total += cmath.exp(1j * sum(float(a) * float(x) / length for a, x in zip(t, row, strict=True)))
    return total / len(features)


def characteristic_function_distance(real, synthetic, frequencies, alpha: float = 0.5) -> float:
    total = 0.0
    for t in frequencies:
        a, b = characteristic_function(real, t), characteristic_function(synthetic, t)
        angle = cmath.phase(a) - cmath.phase(b)
        amplitude, phase = (abs(a) - abs(b)) ** 2, 2 * abs(a) * abs(b) * (1 - math.cos(angle))
        total += math.sqrt(alpha * amplitude + (1 - alpha) * phase)
    return 300 * total / len(frequencies)
