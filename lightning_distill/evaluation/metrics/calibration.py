"""Temperature scaling: one number a student, found on val, makes its probabilities mean what they say."""

from __future__ import annotations

import math

from scipy.optimize import minimize_scalar
from torch import Tensor

from lightning_distill.evaluation.metrics.classification import calibration_scores
from lightning_distill.evaluation.metrics.predictions import Predictions
from lightning_distill.evaluation.metrics.probability_errors import negative_log_likelihood
from lightning_distill.spec import DataSpec

#: Temperatures looked at; where no image is wrong, the best one would be zero.
BOUNDS = (0.01, 100.0)


def temperature(logits: Tensor, targets: Tensor, spec: DataSpec) -> float:
    """The number a student's logits are divided by so that the images are most likely.

    ``T = argmin_T NLL(logits / T)``, over log T: the loss has a single minimum, as it is convex in 1 / T. Never worse
    than T = 1 on these images; exactly 1 where T makes no difference, as for a student that diverged.

    Args:
        logits: ``(N, K)``, of val, never of the images that are scored.
        targets: ``(N,)``, or ``(N, K)`` for multi-label.
        spec: task and class names.

    Reference:
        Guo, Pleiss, Sun, Weinberger: On Calibration of Modern Neural Networks, arXiv 1706.04599.
    """

    def loss(log_temperature: float) -> float:
        return negative_log_likelihood(logits.double() / math.exp(log_temperature), targets, spec)

    bounds = (math.log(BOUNDS[0]), math.log(BOUNDS[1]))
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    return math.exp(found.x) if found.fun < loss(0.0) else 1.0


def calibrated(test: Predictions, val: Predictions) -> list[dict[str, float]]:
    """For each student the ``temperature`` found on val, and with it ``ece_scaled``, ``brier_scaled``, ``nll_scaled``.

    Args:
        test: predictions that are scored.
        val: predictions of the same students on val.

    Raises:
        ValueError: ``val`` is of another split, of other students, or of other classes.
    """
    if val.split != "val":
        raise ValueError(f"temperatures are found on val, got predictions on {val.split!r}; never fit what is scored")
    students = [list(zip(part.architectures, part.seeds, strict=True)) for part in (test, val)]
    if students[0] != students[1]:
        raise ValueError(
            f"students on {test.split} are {students[0]}, on val {students[1]}; show both to the same ones"
        )
    if (test.spec.class_names, test.spec.task) != (val.spec.class_names, val.spec.task):
        named = " and ".join(f"{part.spec.task} of {', '.join(part.spec.class_names)}" for part in (test, val))
        raise ValueError(f"predictions of other classes: {named}; give both splits of one data set")
    temperatures = [temperature(logits, val.targets, val.spec) for logits in val.logits]
    results = []
    for value, logits in zip(temperatures, test.with_temperatures(temperatures).logits, strict=True):
        scores = calibration_scores(logits, test.targets, test.spec)
        results.append({"temperature": value, **{f"{name}_scaled": score for name, score in scores.items()}})
    return results
