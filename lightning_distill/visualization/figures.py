"""Figures of students' predictions: confusion matrix, reliability diagram and recall of each class."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics.functional.classification import multiclass_confusion_matrix

from lightning_distill.evaluation.metrics.classification import calibration_scores, class_recalls
from lightning_distill.evaluation.metrics.intervals import Estimate, student_interval
from lightning_distill.evaluation.metrics.predictions import Predictions
from lightning_distill.evaluation.metrics.probability_errors import BINS
from lightning_distill.visualization.format import bracket, spread
from lightning_distill.visualization.style import BLUE, INK, LINE, MUTED, new_figure, set_title, wrap_text

Floats = NDArray[np.float64]
#: Maximum numbers of classes for which cells of a confusion matrix show share and count, and the count alone.
BOTH, COUNTS = 12, 25


@dataclass(frozen=True)
class Reliability:
    """Confidence and accuracy in equal bins of [0, 1].

    Args:
        count: Number of predictions in each bin, ``(B,)``.
        confidence: Mean confidence in each bin, ``(B,)``; NaN in an empty bin.
        accuracy: Fraction of correct predictions in each bin, ``(B,)``; NaN in an empty bin.
    """

    count: Floats
    confidence: Floats
    accuracy: Floats

    @property
    def error(self) -> float:
        """Expected calibration error ``sum_b n_b / N |accuracy_b - confidence_b|``."""
        return float(np.nansum(self.count * np.abs(self.accuracy - self.confidence)) / self.count.sum())


def figures(predictions: Predictions) -> dict[str, Figure]:
    """Draw all figures of predictions.

    Args:
        predictions: Logits and targets.

    Returns:
        Figures by name: ``confusion`` (not for multi-label tasks), ``reliability`` and ``recall``.
    """
    drawn = {} if predictions.spec.task == "multi-label" else {"confusion": confusion_figure(predictions)}
    return {**drawn, "reliability": reliability_figure(predictions), "recall": recall_figure(predictions)}


def confusion(predictions: Predictions) -> NDArray[np.int64]:
    """Count images of class i predicted as class j, over all students: ``(K, K)``.

    Args:
        predictions: Logits and targets.

    Raises:
        ValueError: If the task is multi-label.
    """
    if predictions.spec.task == "multi-label":
        raise ValueError(
            "a confusion matrix needs one class per image, but the task is multi-label; use recall instead"
        )
    students, _, classes = predictions.logits.shape
    predicted = predictions.logits.argmax(2).flatten()
    return multiclass_confusion_matrix(predicted, predictions.targets.repeat(students), classes).numpy()


def confusion_figure(predictions: Predictions) -> Figure:
    """Draw a confusion matrix: rows are true classes and sum to 100 %, counts are pooled over students."""
    counts, names = confusion(predictions), predictions.spec.class_names
    support = counts.sum(1, keepdims=True)
    shares = np.divide(counts, support, out=np.zeros(counts.shape), where=support > 0)
    k = len(names)
    side = min(8.0, 1.5 + 0.5 * max(k, 4))
    figure, (axis,) = new_figure(side + 0.5, side)
    tint = np.concatenate(
        [np.broadcast_to(to_rgb(BLUE), (k, k, 3)), shares[..., None]], 2
    )  # (K, K, 4): the share as alpha
    axis.pcolormesh(np.arange(k + 1) - 0.5, np.arange(k + 1) - 0.5, tint, rasterized=k > COUNTS, linewidth=0)
    axis.hlines(np.arange(1, k) - 0.5, -0.5, k - 0.5, color=LINE, linewidth=0.4)
    if k <= COUNTS:
        _write_cells(axis, counts, shares)
    labels = [wrap_text(name, 22) for name in names]
    upright = max(map(len, labels)) > 4 and k > 3
    axis.set_xticks(range(k), labels, parse_math=False, rotation=90 if upright else 0, fontsize=8)
    axis.set_yticks(range(k), labels, parse_math=False, fontsize=8)
    axis.set(xlabel="predicted class", ylabel="true class", xlim=(-0.5, k - 0.5), ylim=(k - 0.5, -0.5))
    axis.tick_params(length=0)
    axis.spines[["left", "bottom"]].set_visible(False)
    set_title(axis, "True against predicted class")
    return figure


def _write_cells(axis: Axes, counts: NDArray[np.int64], shares: Floats) -> None:
    """Write share and count into every cell, or the count alone if there are many classes; skip rows without images."""
    both = len(counts) <= BOTH
    for i, j in np.ndindex(*counts.shape):
        if counts[i].any():
            colour = "#ffffff" if shares[i, j] > 0.55 else INK if counts[i, j] else MUTED
            texts = [(f"{100 * shares[i, j]:.0f} %", 5, 9.0), (f"{counts[i, j]:,}", -7, 6.5)]
            for text, up, size in texts if both else [(f"{counts[i, j]:,}", 0, 6.0)]:
                axis.annotate(text, (j, i), (0, up), textcoords="offset points", ha="center", va="center", color=colour,
                              fontsize=size)  # fmt: skip


def reliability(predictions: Predictions, bins: int = BINS) -> Reliability:
    """Compare confidence and accuracy of all students in bins. As in torchmetrics, an edge belongs to the upper bin.

    The confidence is the probability of the most probable class, and for multi-label tasks the probability of each
    label.

    Args:
        predictions: Logits and targets.
        bins: Number of bins B.
    """
    confidence, right = _confidences(predictions)
    edges = torch.linspace(0, 1, bins + 1)
    places = (torch.bucketize(confidence, edges, right=True) - 1).clamp(max=bins - 1).numpy()
    count = np.bincount(places, minlength=bins).astype(np.float64)
    sums = [np.bincount(places, weights, bins) for weights in (confidence.double().numpy(), right.double().numpy())]
    means = [np.divide(total, count, out=np.full(bins, np.nan), where=count > 0) for total in sums]
    return Reliability(count, *means)


def calibration_error(predictions: Predictions) -> Estimate:
    """Compute the expected calibration error of each student (torchmetrics), and its mean over students."""
    spec, targets = predictions.spec, predictions.targets
    errors = [calibration_scores(logits, targets, spec)["ece"] for logits in predictions.logits]
    return student_interval(errors, 0.95 if len(errors) > 1 else None, (0, 1))


def reliability_figure(predictions: Predictions) -> Figure:
    """Draw a reliability diagram: bars are accuracies at each confidence; calibrated students lie on the diagonal."""
    bins, error = reliability(predictions), calibration_error(predictions)
    edges = np.linspace(0, 1, len(bins.count) + 1)
    figure, (top, bottom) = new_figure(4.7, 4.4, 2, (3.2, 1))
    width = 100 / len(bins.count)
    top.bar(100 * edges[:-1], 100 * np.nan_to_num(bins.accuracy), width, align="edge", color=BLUE, alpha=0.55,
            edgecolor=BLUE, linewidth=0.6)  # fmt: skip
    top.plot([0, 100], [0, 100], color=MUTED, linewidth=1, linestyle="--")
    top.plot(100 * bins.confidence, 100 * bins.accuracy, "o", color=INK, markersize=3)
    multi_label = predictions.spec.task == "multi-label"
    top.set(ylabel="has the label, %" if multi_label else "correct, %", ylim=(0, 100), xlim=(0, 100))
    top.grid(axis="y", color=LINE, linewidth=0.6)
    share = 100 * bins.count / bins.count.sum()
    bottom.bar(100 * edges[:-1], share, width, align="edge", color=MUTED, alpha=0.45, edgecolor=MUTED, linewidth=0.6)
    bottom.set(xlabel="probability of the label, %" if multi_label else "confidence, %", ylabel="share, %")
    bottom.set_xticks([0, 20, 40, 60, 80, 100])
    set_title(top, "Reliability")
    top.text(3, 97, f"ECE, %: {spread(error)}\n{bracket(error)}", va="top", fontsize=8.5, color=INK)
    return figure


def recall(predictions: Predictions) -> dict[str, list[float]]:
    """Compute the recall of every class with a defined recall, by name: one value for each student."""
    recalls = [class_recalls(logits, predictions.targets, predictions.spec) for logits in predictions.logits]
    return {name: [values[name] for values in recalls] for name in recalls[0]}


def recall_figure(predictions: Predictions) -> Figure:
    """Draw recalls: a dot for each student, a bar for the 95 % interval of the mean, a note for undefined recalls."""
    recalls, spec = recall(predictions), predictions.spec
    one_hot = predictions.targets if spec.task == "multi-label" else _one_hot(predictions.targets, spec.num_classes)
    support = one_hot.sum(0).tolist()
    figure, (axis,) = new_figure(4.7, 1.2 + 0.36 * spec.num_classes)
    for row, name in enumerate(spec.class_names):
        if name not in recalls:
            why = "no images" if not support[row] else "every image has it"
            axis.text(50, row, f"{why}: no recall", ha="center", va="center", fontsize=8.5, color=MUTED)
            continue
        values = recalls[name]
        axis.plot([100 * value for value in values], [row] * len(values), "o", color=BLUE, alpha=0.4, markersize=4,
                  markeredgewidth=0)  # fmt: skip
        known = student_interval(values, 0.95 if len(values) > 1 else None, (0, 1))
        half = None if math.isnan(known.low) else [[100 * (known.mean - known.low)], [100 * (known.high - known.mean)]]
        axis.errorbar([100 * known.mean], [row], xerr=half, color=INK, marker="|", markersize=9, elinewidth=1.2,
                      capsize=2.5)  # fmt: skip
    labels = [f"{wrap_text(name, 26)} ({count:,})" for name, count in zip(spec.class_names, support, strict=True)]
    axis.set_yticks(range(len(labels)), labels, parse_math=False, fontsize=8)
    axis.set(xlabel="recall, % (in brackets: images)", xlim=(-2, 102), ylim=(len(labels) - 0.5, -0.5))
    axis.grid(axis="x", color=LINE, linewidth=0.6)
    axis.spines["left"].set_visible(False)
    axis.tick_params(axis="y", length=0)
    set_title(axis, "Recall of each class")
    return figure


def _confidences(predictions: Predictions) -> tuple[Tensor, Tensor]:
    probs, targets = predictions.probabilities, predictions.targets
    if predictions.spec.task == "multi-label":
        return probs.flatten(), targets.expand(len(probs), -1, -1).flatten().bool()
    confidence, predicted = probs.max(2)  # (S, N) each
    return confidence.flatten(), (predicted == targets).flatten()


def _one_hot(targets: Tensor, classes: int) -> Tensor:
    return torch.nn.functional.one_hot(targets, classes)
