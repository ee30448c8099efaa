"""Kernel ridge regression in plain loops and float64, written from the formula of the dual problem."""

from __future__ import annotations


def solve(matrix: list[list[float]], right: list[list[float]]) -> list[list[float]]:
    """Gauss-Jordan elimination with partial pivoting."""
    size = len(matrix)
    rows = [[*map(float, a), *map(float, b)] for a, b in zip(matrix, right, strict=True)]
    for k in range(size):
        pivot = max(range(k, size), key=lambda i: abs(rows[i][k]))
        rows[k], rows[pivot] = rows[pivot], rows[k]
        rows[k] = [value / rows[k][k] for value in rows[k]]
        for i in range(size):
            if i != k:
                rows[i] = [a - rows[i][k] * b for a, b in zip(rows[i], rows[k], strict=True)]
    return [row[size:] for row in rows]


def kernel_ridge_predictions(real, synthetic, targets, ridge) -> list[list[float]]:
    """Return K_rs (K_ss + lambda I)^-1 Y_s with the linear kernel, lambda relative to the mean diagonal."""
    kernel = [[sum(float(a) * float(b) for a, b in zip(u, v, strict=True)) for v in synthetic] for u in synthetic]
    strength = ridge * sum(kernel[i][i] for i in range(len(kernel))) / len(kernel)
    for i in range(len(kernel)):
        kernel[i][i] += strength
    dual = solve(kernel, targets)
    cross = [[sum(float(a) * float(b) for a, b in zip(u, v, strict=True)) for v in synthetic] for u in real]
    return [[sum(k * row[t] for k, row in zip(line, dual, strict=True)) for t in range(len(dual[0]))] for line in cross]


def kernel_ridge_loss(real, synthetic, real_targets, targets, ridge) -> float:
    """Return the squared error of the predictions, summed over targets, averaged over real images."""
    predictions = kernel_ridge_predictions(real, synthetic, targets, ridge)
    errors = [
        sum((p - float(y)) ** 2 for p, y in zip(row, wanted, strict=True))
        for row, wanted in zip(predictions, real_targets, strict=True)
    ]
    return sum(errors) / len(errors)
