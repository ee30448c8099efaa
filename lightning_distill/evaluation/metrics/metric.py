"""`MetricSpec`, the single definition of a metric, and the data it is computed from."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import get_args

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from lightning_distill.spec import DataSpec, Task

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
#: Scores ``(R,)`` from image weights ``(R, N)``: ones give the score itself, resample counts give a bootstrap.
WeightedScore = Callable[[Floats], Floats]
ALL_TASKS: frozenset[Task] = frozenset(get_args(Task))


@dataclass(frozen=True)
class StudentOutputs:
    """Logits of several students on the evaluation images, with the targets.

    Args:
        logits: Logits ``(S, N, K)`` float32, finite.
        targets: Labels ``(N,)`` int64, or 0/1 rows ``(N, K)`` for multi-label data.
        spec: Task and class names.
    """

    logits: Tensor
    targets: Tensor
    spec: DataSpec

    @cached_property
    def probabilities(self) -> Tensor:
        """Class probabilities ``(S, N, K)`` float32."""
        return class_probabilities(self.logits, self.spec)

    @cached_property
    def true(self) -> Tensor:
        """True classes ``(N, K)`` bool: one-hot labels, or the multi-label rows."""
        return (self.targets if self.spec.multi_label else F.one_hot(self.targets, self.spec.num_classes)).bool()

    @cached_property
    def predicted(self) -> Tensor:
        """Predicted classes ``(S, N, K)`` bool: the most probable class, or labels with probability above one half."""
        if self.spec.multi_label:
            return self.probabilities > 0.5
        return F.one_hot(self.probabilities.argmax(-1), self.spec.num_classes).bool()


@dataclass(frozen=True)
class MetricSpec:
    """Definition of a metric. Scores, bootstrap, comparison, CSV columns, report and chance level read it.

    Args:
        name: Key in score dictionaries, log keys (``val/<name>``) and CSV columns.
        label: Name in tables and charts.
        fn: Function from `StudentOutputs` to the mean over students as a function of image weights.
        section: Section of the report, one of `SECTIONS`.
        tasks: Tasks that the metric is defined for.
        higher_is_better: Direction of improvement; ``None`` for neither.
        percent: Whether tables show the metric in percent.
        decimals: Decimals in tables.
        chance: Function from targets and spec to the score of the best image-independent predictor.
        resamples: Default number of bootstrap resamples.
        label_fn: Function from a label index and `StudentOutputs` to the score of this label alone. Multi-label data
            then also have the metrics ``<name>/<label>``.
        scaled: Whether the metric is also reported after temperature scaling, as ``<name>_scaled``.
        interval: Whether result rows hold its bootstrap interval.
    """

    name: str
    label: str
    fn: Callable[[StudentOutputs], WeightedScore]
    section: str = "Scores"
    tasks: frozenset[Task] = ALL_TASKS
    higher_is_better: bool | None = True
    percent: bool = True
    decimals: int = 1
    chance: Callable[[Tensor, DataSpec], float] | None = None
    resamples: int = 1000
    label_fn: Callable[[int, StudentOutputs], WeightedScore] | None = None
    scaled: bool = False
    interval: bool = False

    @property
    def bounds(self) -> tuple[float, float]:
        """Smallest and largest value where the metric is a share, which tables show in percent."""
        return (0.0, 1.0) if self.percent else (-math.inf, math.inf)

    @property
    def unit(self) -> str:
        """Unit behind a number of `text`."""
        return " %" if self.percent else ""

    def text(self, value: float, sign: str = "") -> str:
        """Format a value as tables show it, without its unit.

        Args:
            value: Value of the metric.
            sign: ``+`` for a difference, with the sign of positive values too.

        Example:
            >>> from lightning_distill.evaluation.metrics.registry import METRICS
            >>> METRICS["acc"].text(0.875), METRICS["nll"].text(0.875)
            ('87.5', '0.88')
        """
        return f"{(100 if self.percent else 1) * value:{sign}.{self.decimals}f}"

    def score(self, outputs: StudentOutputs) -> float:
        """Compute the mean over students on all images with equal weights."""
        return float(self.fn(outputs)(np.ones((1, len(outputs.targets))))[0])


def class_probabilities(logits: Tensor, spec: DataSpec) -> Tensor:
    """Convert logits ``(..., K)`` to float32 probabilities: softmax over classes, or sigmoid for multi-label data."""
    return logits.float().sigmoid() if spec.multi_label else logits.float().softmax(-1)


def present_classes(targets: Tensor, spec: DataSpec) -> Tensor:
    """Find the classes ``(K,)`` bool that can be scored: with images; for multi-label data also with negatives."""
    if spec.multi_label:
        return targets.bool().any(0) & ~targets.bool().all(0)
    return torch.bincount(targets.long(), minlength=spec.num_classes) > 0


def image_mean(values: Tensor) -> WeightedScore:
    """Weighted mean over images of values ``(S, N)``, averaged over students."""
    mean = values.double().mean(0).numpy()  # (N,)
    return lambda weights: np.asarray(weights @ mean / weights.sum(1))


def rescored(outputs: StudentOutputs, score: Callable[[Tensor, Tensor, DataSpec], float]) -> WeightedScore:
    """Score of the repeated images, for metrics without a weighted form. Weights must be whole numbers.

    Args:
        outputs: Logits of all students, targets and spec.
        score: Function from logits ``(M, K)``, targets and spec of one student to its score.
    """

    def weighted(weights: Floats) -> Floats:
        rows = [torch.from_numpy(np.repeat(np.arange(len(row)), row.astype(np.int64))) for row in weights]
        scores = [[score(own[r], outputs.targets[r], outputs.spec) for r in rows] for own in outputs.logits]  # (S, R)
        return np.asarray(np.mean(scores, axis=0), np.float64)

    return weighted


def safe_divide(numerator: Floats, denominator: Floats) -> Floats:
    """Divide, with NaN where the denominator is zero."""
    shape = np.broadcast_shapes(numerator.shape, denominator.shape)
    return np.asarray(np.divide(numerator, denominator, out=np.full(shape, np.nan), where=denominator > 0))


def nanmean(values: Floats, axis: int) -> Floats:
    """Mean of the values that are not NaN; NaN where none is left."""
    return safe_divide(np.nansum(values, axis=axis), (~np.isnan(values)).sum(axis).astype(np.float64))
