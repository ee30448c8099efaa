"""Scores of one student on real data."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from lightning_distill.evaluation.metrics.metric import StudentOutputs, class_probabilities, present_classes
from lightning_distill.evaluation.metrics.registry import metrics_for
from lightning_distill.spec import DataSpec


def compute_metrics(logits: Tensor, targets: Tensor, spec: DataSpec) -> dict[str, float]:
    """Compute all metrics of one student as fractions. The set of metrics depends on the spec alone.

    The metrics are those of `registry.METRICS` for the task. ``acc`` and ``auroc`` are MedMNIST's ACC and AUC.
    `undefined_classes` are excluded from every mean over classes; a mean over no class is NaN. An AUROC below one half
    is not inverted.

    Args:
        logits: Logits ``(N, K)``, finite.
        targets: Labels ``(N,)`` int64, or 0/1 rows ``(N, K)`` for multi-label data.
        spec: Task and class names.

    Raises:
        ValueError: Shapes do not match, there are no images, targets are out of range, or logits are not finite.

    Reference:
        Yang et al.: MedMNIST v2, arXiv 2110.14795, and the evaluator of its package.
    """
    _check(logits, targets, spec)
    outputs = StudentOutputs(logits.float()[None], targets.long(), spec)
    return {name: metric.score(outputs) for name, metric in metrics_for(spec).items()}


def undefined_classes(targets: Tensor, spec: DataSpec) -> list[int]:
    """List the classes without a score: without images; for multi-label data labels that none or all images have.

    Args:
        targets: Labels ``(N,)``, or 0/1 rows ``(N, K)`` for multi-label data.
        spec: Task and class names.
    """
    return torch.nonzero(~present_classes(targets, spec)).flatten().tolist()


def class_recalls(logits: Tensor, targets: Tensor, spec: DataSpec) -> dict[str, float]:
    """Compute the recall of each class by name, without `undefined_classes`.

    Args:
        logits: Logits ``(N, K)``.
        targets: Labels ``(N,)``, or 0/1 rows ``(N, K)`` for multi-label data.
        spec: Task and class names.
    """
    outputs = StudentOutputs(logits[None], targets.long(), spec)
    true, hits = outputs.true.double().sum(0), (outputs.predicted[0] & outputs.true).double().sum(0)  # (K,) each
    present = present_classes(targets, spec)
    return {name: float(hits[k] / true[k]) for k, name in enumerate(spec.class_names) if present[k]}


def worst_class(logits: Tensor, targets: Tensor, spec: DataSpec) -> str:
    """Name the class with the lowest recall, the first of several.

    Raises:
        ValueError: All classes are undefined.
    """
    values = class_recalls(logits, targets, spec)
    if not values:
        raise ValueError(f"none of the {spec.num_classes} labels is on some images and not on others; no recall exists")
    return min(values, key=values.__getitem__)


def calibration_scores(logits: Tensor, targets: Tensor, spec: DataSpec) -> dict[str, float]:
    """Compute the metrics that are also reported after temperature scaling: ``ece``, ``brier``, ``nll``.

    Args:
        logits: Logits ``(N, K)``.
        targets: Labels ``(N,)``, or 0/1 rows ``(N, K)`` for multi-label data.
        spec: Task and class names.
    """
    outputs = StudentOutputs(logits[None], targets.long(), spec)
    return {name: metric.score(outputs) for name, metric in metrics_for(spec).items() if metric.scaled}


__all__ = [
    "StudentMetrics",
    "calibration_scores",
    "class_probabilities",
    "class_recalls",
    "compute_metrics",
    "undefined_classes",
    "worst_class",
]


class StudentMetrics(Metric):
    """Accumulate the logits of one student and the targets over batches and ranks; score them by `compute_metrics`.

    A student with a non-finite logit has diverged: all its logits are set to zero, i.e. equal probabilities, and
    ``diverged`` is True.

    Args:
        spec: Task and class names.
        sync: Whether predictions are gathered from all ranks. False if each rank evaluates different students.
    """

    full_state_update = False
    logits: list[Tensor]
    targets: list[Tensor]

    def __init__(self, spec: DataSpec, sync: bool = True) -> None:
        super().__init__(sync_on_compute=sync)
        self.spec = spec
        self.absent: list[int] = []
        self.diverged = False
        self.add_state("logits", default=[], dist_reduce_fx="cat")
        self.add_state("targets", default=[], dist_reduce_fx="cat")

    def update(self, logits: Tensor, targets: Tensor) -> None:
        """Add logits ``(B, K)`` and targets ``(B,)``, or ``(B, K)`` for multi-label."""
        self.logits.append(logits.detach().float())
        self.targets.append(targets.long())

    def compute(self) -> tuple[Tensor, Tensor]:
        """Concatenate all logits and targets, over all ranks if they are synchronised."""
        return dim_zero_cat(self.logits), dim_zero_cat(self.targets)

    def all_predictions(self) -> tuple[Tensor, Tensor]:
        """Return logits ``(N, K)``, zeros for a diverged student, and targets, on the CPU."""
        logits, targets = self.compute()
        logits = logits.reshape(-1, self.spec.num_classes).cpu()
        # torchmetrics squeezes one-element states
        targets = targets.reshape(logits.shape if self.spec.task == "multi-label" else len(logits)).cpu()
        self.diverged = not bool(logits.isfinite().all())
        return (torch.zeros_like(logits) if self.diverged else logits), targets

    def scores(self) -> dict[str, float]:
        """Compute all metrics; set ``absent`` and ``diverged``."""
        logits, targets = self.all_predictions()
        self.absent = undefined_classes(targets, self.spec)
        return compute_metrics(logits, targets, self.spec)


def _check(logits: Tensor, targets: Tensor, spec: DataSpec) -> None:
    multi_label, classes = spec.task == "multi-label", spec.num_classes
    expected = (len(logits), classes) if multi_label else (len(logits),)
    if logits.ndim != 2 or logits.shape[1] != classes or targets.shape != expected:
        wanted = f"(N, {classes}) and {f'(N, {classes})' if multi_label else '(N,)'}"
        given = f"{tuple(logits.shape)} and {tuple(targets.shape)}"
        raise ValueError(f"logits and targets of a {spec.task} task are {wanted}, got {given}")
    if not len(logits):
        raise ValueError("there are no images to score on; at least one is needed")
    low, high, last = int(targets.min()), int(targets.max()), 1 if multi_label else classes - 1
    if low < 0 or high > last:
        raise ValueError(f"targets range from {low} to {high}, expected 0 to {last} for {spec.name}; check the labels")
    if not logits.isfinite().all():
        raise ValueError("logits are not finite: the student diverged; StudentMetrics replaces them by zeros")
