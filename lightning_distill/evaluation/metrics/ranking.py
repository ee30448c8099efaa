"""Ranking metrics: AUROC and mean average precision."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics.functional.classification import multilabel_average_precision

from lightning_distill.evaluation.metrics.metric import (
    Flags,
    Floats,
    MetricSpec,
    StudentOutputs,
    WeightedScore,
    class_probabilities,
    nanmean,
    present_classes,
    rescored,
    safe_divide,
)
from lightning_distill.spec import DataSpec

Rows = NDArray[np.int64]


def auroc(outputs: StudentOutputs) -> WeightedScore:
    """Mean of one-vs-rest AUROCs; for a binary task the AUROC of the second class."""
    classes = [1] if outputs.spec.task == "binary" else list(range(outputs.spec.num_classes))
    return _macro_auroc(outputs.probabilities[..., classes].numpy(), outputs.true[:, classes].numpy())


def label_auroc(label: int, outputs: StudentOutputs) -> WeightedScore:
    """AUROC of one label."""
    return _macro_auroc(outputs.probabilities[..., [label]].numpy(), outputs.true[:, [label]].numpy())


def mean_average_precision(outputs: StudentOutputs) -> WeightedScore:
    """Mean over labels of the average precision (torchmetrics); absent labels are left out."""

    def score(logits: Tensor, targets: Tensor, spec: DataSpec) -> float:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="No (positive|negative) samples")
            values = multilabel_average_precision(
                class_probabilities(logits, spec), targets.long(), spec.num_classes, None, validate_args=False
            )
        return float(values.double()[present_classes(targets, spec)].mean())

    return rescored(outputs, score)


def _macro_auroc(probabilities: NDArray[np.float32], true: Flags) -> WeightedScore:
    """Macro AUROC of ``(S, N, K)`` as the Mann-Whitney statistic, sorted once for all resamples.

    AUROC is the fraction of (positive, negative) pairs in which the positive scores higher, ties counting one half. For
    each positive the weight of the negatives below it is read from their running sum.
    """
    sides = [(np.flatnonzero(positive), np.flatnonzero(~positive)) for positive in true.T]
    plans = [[_sorted_positions(scores[:, k], *side) for scores in probabilities] for k, side in enumerate(sides)]

    def score(weights: Floats) -> Floats:
        by_image = np.ascontiguousarray(weights.T)  # (N, R)
        by_class = []
        for (positives, negatives), students in zip(sides, plans, strict=True):
            own = by_image[positives]  # (P, R)
            won = np.zeros(len(weights))
            running = np.zeros((len(negatives) + 1, len(weights)))
            for order, below, up_to in students:
                np.cumsum(by_image[order], axis=0, out=running[1:])
                won += (own * (running[below] + running[up_to])).sum(0) / 2
            by_class.append(safe_divide(won / len(students), own.sum(0) * by_image[negatives].sum(0)))
        return nanmean(np.stack(by_class), 0)

    return score


def _sorted_positions(scores: NDArray[np.float32], positives: Rows, negatives: Rows) -> tuple[Rows, Rows, Rows]:
    """Negatives sorted by score, and for each positive the number of negatives below it and not above it."""
    order = negatives[np.argsort(scores[negatives], kind="stable")]
    below, up_to = (np.searchsorted(scores[order], scores[positives], side) for side in ("left", "right"))
    return order, below, up_to


AUROC = MetricSpec("auroc", "AUROC", auroc, chance=lambda *_: 0.5, label_fn=label_auroc, interval=True)
MEAN_AVERAGE_PRECISION = MetricSpec(
    "mAP", "mean AP", mean_average_precision, tasks=frozenset({"multi-label"}), resamples=200
)
