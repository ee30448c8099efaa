"""Metrics of ordinal classes: quadratic kappa and mean absolute error."""

from __future__ import annotations

from torch import Tensor
from torchmetrics.functional.classification import multiclass_cohen_kappa

from lightning_distill.evaluation.metrics.metric import (
    MetricSpec,
    StudentOutputs,
    WeightedScore,
    class_probabilities,
    image_mean,
    rescored,
)
from lightning_distill.spec import DataSpec, Task

ORDINAL: frozenset[Task] = frozenset({"ordinal"})


def quadratic_kappa(outputs: StudentOutputs) -> WeightedScore:
    """Cohen's kappa with quadratic weights (torchmetrics)."""

    def score(logits: Tensor, targets: Tensor, spec: DataSpec) -> float:
        predicted = class_probabilities(logits, spec).argmax(1)
        return float(multiclass_cohen_kappa(predicted, targets.long(), spec.num_classes, weights="quadratic"))

    return rescored(outputs, score)


def mean_absolute_error(outputs: StudentOutputs) -> WeightedScore:
    """Mean number of classes between the most probable and the true class."""
    return image_mean((outputs.probabilities.argmax(-1) - outputs.targets).abs())


KAPPA = MetricSpec("kappa", "quadratic kappa", quadratic_kappa, tasks=ORDINAL, percent=False, decimals=3, resamples=200)
MAE = MetricSpec(
    "mae",
    "mean absolute error, classes",
    mean_absolute_error,
    "Worst class and errors",
    ORDINAL,
    higher_is_better=False,
    percent=False,
    decimals=3,
)
