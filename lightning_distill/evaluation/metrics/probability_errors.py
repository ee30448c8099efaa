"""Errors of predicted probabilities: expected calibration error, Brier score, negative log-likelihood."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.functional.classification import binary_calibration_error, multiclass_calibration_error

from lightning_distill.evaluation.metrics.metric import (
    MetricSpec,
    StudentOutputs,
    WeightedScore,
    class_probabilities,
    image_mean,
    rescored,
)
from lightning_distill.spec import DataSpec

#: Number of equal confidence bins of the expected calibration error.
BINS = 15
SECTION = "Calibration, before and after temperature scaling on val"


def expected_calibration_error(outputs: StudentOutputs) -> WeightedScore:
    """Compute ``ece = sum_b n_b / N |accuracy_b - confidence_b|`` over 15 equal bins of the highest probability.

    For multi-label data it is the mean over labels of the error of the label's probability.

    Reference:
        Guo, Pleiss, Sun, Weinberger: On Calibration of Modern Neural Networks, arXiv 1706.04599.
    """

    def score(logits: Tensor, targets: Tensor, spec: DataSpec) -> float:
        # torchmetrics opens a sixteenth bin for a probability of exactly one, which float32 reaches easily
        inside = class_probabilities(logits, spec).clamp(max=1 - 2**-24)
        if spec.multi_label:
            labels = zip(inside.T.contiguous(), targets.long().T, strict=True)
            return float(torch.stack([binary_calibration_error(own, yes, BINS) for own, yes in labels]).mean())
        return float(multiclass_calibration_error(inside, targets.long(), spec.num_classes, BINS))

    return rescored(outputs, score)


def brier_score(outputs: StudentOutputs) -> WeightedScore:
    """Compute ``mean_n sum_k (p_nk - y_nk)^2``, halved for two classes; for multi-label data the mean over labels."""
    squares = (outputs.probabilities.double() - outputs.true.double()).square()  # (S, N, K)
    halved = outputs.spec.multi_label or outputs.spec.num_classes == 2
    return image_mean(squares.mean(-1) if halved else squares.sum(-1))


def log_loss(outputs: StudentOutputs) -> WeightedScore:
    """Compute ``-mean_n log p(y_n)`` in nats and float64; for multi-label data also the mean over labels."""
    logits = outputs.logits.double()
    if outputs.spec.multi_label:
        log = torch.where(outputs.true, F.logsigmoid(logits), F.logsigmoid(-logits))
        return image_mean(-log.mean(-1))
    return image_mean(-logits.log_softmax(-1).masked_fill(~outputs.true, 0).sum(-1))


def negative_log_likelihood(logits: Tensor, targets: Tensor, spec: DataSpec) -> float:
    """Compute `log_loss` of one student, in the form that temperature scaling minimises.

    Args:
        logits: Logits ``(N, K)``.
        targets: Labels ``(N,)``, or 0/1 rows ``(N, K)`` for multi-label data.
        spec: Task and class names.
    """
    if spec.multi_label:
        return float(F.binary_cross_entropy_with_logits(logits.double(), targets.double()))
    return float(F.cross_entropy(logits.double(), targets.long()))


ECE = MetricSpec("ece", "ECE", expected_calibration_error, SECTION, higher_is_better=False, resamples=200, scaled=True)
BRIER = MetricSpec(
    "brier", "Brier", brier_score, SECTION, higher_is_better=False, percent=False, decimals=3, scaled=True
)
NLL = MetricSpec("nll", "NLL", log_loss, SECTION, higher_is_better=False, percent=False, decimals=2, scaled=True)
