"""The distance of class means relative to their scatter, with nothing but Python lists."""

from __future__ import annotations


def relative_mean_distance(real: list[list[list[float]]], synthetic: list[list[list[float]]]) -> float:
    """Return the distance of the mean rows of each class, over the scatter of the synthetic means."""

    def mean(rows: list[list[float]]) -> list[float]:
        return [sum(column) / len(rows) for column in zip(*rows, strict=True)]

    def squared(a: list[float], b: list[float]) -> float:
        return sum((x - y) ** 2 for x, y in zip(a, b, strict=True))

    wanted, found = [mean(rows) for rows in real], [mean(rows) for rows in synthetic]
    centre = mean(found)
    return sum(map(squared, wanted, found)) / sum(squared(row, centre) for row in found)
