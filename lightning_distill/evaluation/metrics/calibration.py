"""Temperature scaling: one temperature per student, fitted on val."""

from __future__ import annotations

import math

import torch.nn.functional as F
from scipy.optimize import minimize_scalar
from torch import Tensor

from lightning_distill.evaluation.metrics.classification import calibration_scores
from lightning_distill.evaluation.metrics.predictions import Predictions
from lightning_distill.evaluation.metrics.probability_errors import negative_log_likelihood
from lightning_distill.spec import DataSpec

#: Range of temperatures; without a misclassified image the optimum would be zero.
BOUNDS = (0.01, 100.0)


def temperature(logits: Tensor, targets: Tensor, spec: DataSpec, smoothing: float = 0.0) -> float:
    """Fit the temperature that minimises the negative log-likelihood of ``logits / T``.

    The search runs over log T; the loss is convex in 1 / T and has a single minimum. The result is never worse than
    T = 1 on these images, and exactly 1 if T has no effect, as for a diverged student.

    Args:
        logits: Logits ``(N, K)`` on val, never on the scored images.
        targets: Labels ``(N,)``, or 0/1 rows ``(N, K)`` for multi-label data.
        spec: Task and class names.
        smoothing: Share in [0, 1) of the targets that is spread evenly over the classes.

    Reference:
        Guo, Pleiss, Sun, Weinberger: On Calibration of Modern Neural Networks, arXiv 1706.04599.
    """

    def loss(log_temperature: float) -> float:
        scaled = logits.double() / math.exp(log_temperature)
        even = (F.logsigmoid(scaled) + F.logsigmoid(-scaled)) / 2 if spec.multi_label else scaled.log_softmax(-1)
        return (1 - smoothing) * negative_log_likelihood(scaled, targets, spec) - smoothing * float(even.mean())

    bounds = (math.log(BOUNDS[0]), math.log(BOUNDS[1]))
    optimum = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    return math.exp(optimum.x) if optimum.fun < loss(0.0) else 1.0


def temperature_of_labels(logits: Tensor, targets: Tensor, spec: DataSpec) -> float:
    """Fit the temperature of probabilities that become labels.

    Where every image is classified correctly the likelihood has no optimum, and the labels would be one-hot. The
    targets of the N images then count as right with probability (N + 1) / (N + 2), as in Platt scaling.

    Args:
        logits: Logits ``(M, N, K)`` of M networks on val.
        targets: Labels ``(N,)``, or 0/1 rows ``(N, K)`` for multi-label data.
        spec: Task and class names.

    Reference:
        Platt: Probabilistic Outputs for Support Vector Machines, Advances in Large Margin Classifiers, 1999.
    """
    predicted = (logits > 0).long() if spec.multi_label else logits.argmax(-1)
    perfect = bool((predicted == targets).all())
    classes = 2 if spec.multi_label else spec.num_classes
    smoothing = classes / (classes - 1) / (len(targets) + 2) if perfect else 0.0
    return temperature(logits.flatten(0, 1), targets.repeat(len(logits), *([1] * (targets.ndim - 1))), spec, smoothing)


def calibrated(test: Predictions, val: Predictions) -> list[dict[str, float]]:
    """Compute for each student the ``temperature`` from val and the scaled metrics, e.g. ``ece_scaled``.

    Args:
        test: Predictions to score.
        val: Predictions of the same students on val.

    Raises:
        ValueError: ``val`` is another split, or has other students or classes.
    """
    if val.split != "val":
        raise ValueError(f"temperatures are fitted on val, got predictions on {val.split!r}; use the val split")
    students = [list(zip(part.architectures, part.seeds, strict=True)) for part in (test, val)]
    if students[0] != students[1]:
        raise ValueError(
            f"students on {test.split} are {students[0]}, on val {students[1]}; predict both with the same students"
        )
    if (test.spec.class_names, test.spec.task) != (val.spec.class_names, val.spec.task):
        named = " and ".join(f"{part.spec.task} of {', '.join(part.spec.class_names)}" for part in (test, val))
        raise ValueError(f"the predictions differ in classes: {named}; use two splits of one data set")
    temperatures = [temperature(logits, val.targets, val.spec) for logits in val.logits]
    results = []
    for value, logits in zip(temperatures, test.with_temperatures(temperatures).logits, strict=True):
        scores = calibration_scores(logits, test.targets, test.spec)
        results.append({"temperature": value, **{f"{name}_scaled": score for name, score in scores.items()}})
    return results
