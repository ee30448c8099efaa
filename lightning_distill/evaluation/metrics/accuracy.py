"""Accuracy and its per-class variants: balanced accuracy, worst recall, macro F1."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from lightning_distill.evaluation.metrics.metric import (
    Floats,
    MetricSpec,
    StudentOutputs,
    WeightedScore,
    image_mean,
    nanmean,
    safe_divide,
)
from lightning_distill.spec import DataSpec

#: Value of a class from weighted true positives, positives, predicted positives and the total weight.
ClassValue = Callable[[Floats, Floats, Floats, Floats], Floats]


def accuracy(outputs: StudentOutputs) -> WeightedScore:
    """Fraction of images whose most probable class is true; for multi-label data the mean over labels."""
    if outputs.spec.multi_label:
        return image_mean((outputs.predicted == outputs.true).double().mean(-1))
    return image_mean(outputs.probabilities.argmax(-1) == outputs.targets)


def balanced_accuracy(outputs: StudentOutputs) -> WeightedScore:
    """Mean recall over classes; for multi-label data the mean over labels of (sensitivity + specificity) / 2."""

    def value(hits: Floats, positives: Floats, named: Floats, total: Floats) -> Floats:
        recall = safe_divide(hits, positives)
        if not outputs.spec.multi_label:
            return recall
        return (recall + safe_divide(total - positives - named + hits, total - positives)) / 2

    values = _by_class(outputs, value)
    return lambda weights: np.asarray(nanmean(values(weights), 2).mean(0))


def macro_f1(outputs: StudentOutputs) -> WeightedScore:
    """Mean over classes of the F1 score."""
    values = _by_class(outputs, lambda hits, positives, named, _: safe_divide(2 * hits, positives + named))
    return lambda weights: np.asarray(nanmean(values(weights), 2).mean(0))


def worst_recall(outputs: StudentOutputs) -> WeightedScore:
    """Recall of each student's worst class on the full images.

    The class is fixed. If every resample searched its own worst class, the minimum would fall with the noise and the
    interval would not contain the score.
    """
    values = _by_class(outputs, lambda hits, positives, *_: safe_divide(hits, positives))
    full = values(np.ones((1, len(outputs.targets))))[:, 0]  # (S, K)
    worst = np.where(np.isnan(full), np.inf, full).argmin(1)  # (S,)
    return lambda weights: np.asarray(np.take_along_axis(values(weights), worst[:, None, None], axis=2)[..., 0].mean(0))


def _by_class(outputs: StudentOutputs, value: ClassValue) -> Callable[[Floats], Floats]:
    """Values ``(S, R, K)`` from weights ``(R, N)``, NaN for classes that cannot be scored."""
    true = outputs.true.numpy().astype(np.float64)  # (N, K)
    students = outputs.predicted.numpy().astype(np.float64)  # (S, N, K)

    def values(weights: Floats) -> Floats:
        positives, total = weights @ true, weights.sum(1)[:, None]  # (R, K), (R, 1)
        present = (positives > 0) & (positives < total) if outputs.spec.multi_label else positives > 0
        by_student = [
            np.where(present, value(weights @ (true * predicted), positives, weights @ predicted, total), np.nan)
            for predicted in students
        ]
        return np.stack(by_student)

    return values


def _accuracy_chance(targets: Tensor, spec: DataSpec) -> float:
    """Largest class frequency; for multi-label data the mean over labels of ``max(p, 1 - p)``."""
    if spec.multi_label:
        frequency = targets.double().mean(0)  # (K,)
        return float(torch.maximum(frequency, 1 - frequency).mean())
    return float(torch.bincount(targets, minlength=spec.num_classes).max()) / len(targets)


def _balanced_chance(targets: Tensor, spec: DataSpec) -> float:
    """One over the number of present classes; one half for multi-label data."""
    return 0.5 if spec.multi_label else 1 / int((torch.bincount(targets, minlength=spec.num_classes) > 0).sum())


ACCURACY = MetricSpec("acc", "accuracy", accuracy, chance=_accuracy_chance, interval=True)
BALANCED_ACCURACY = MetricSpec(
    "balanced_acc", "balanced accuracy", balanced_accuracy, chance=_balanced_chance, interval=True
)
WORST_RECALL = MetricSpec("worst_recall", "recall of the worst class", worst_recall, "Worst class and errors")
MACRO_F1 = MetricSpec("macro_f1", "macro F1", macro_f1, "Worst class and errors")
