"""Confidence intervals over students and over test images, and paired comparison of two sets."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from lightning_distill.evaluation.metrics.bootstrap import Rows, bootstrap, weighted_statistic
from lightning_distill.evaluation.metrics.metric import Floats, WeightedScore
from lightning_distill.evaluation.metrics.predictions import Predictions
from lightning_distill.evaluation.metrics.registry import get_metric
from lightning_distill.utils.statistics import t_interval

SPLITS = {"val": "validation", "test": "test"}


@dataclass(frozen=True)
class Estimate:
    """Score with its confidence interval.

    Args:
        mean: Score, a fraction or in the unit of the metric.
        std: Sample standard deviation over students, or standard error over images.
        low: Lower end of the interval; NaN without an interval.
        high: Upper end of the interval; NaN without an interval.
        level: Confidence level, e.g. 0.95.
        n: Number of units.
        unit: Unit of the variation: ``students``, ``images`` or ``groups`` of images.
    """

    mean: float
    std: float
    low: float
    high: float
    level: float
    n: int
    unit: str

    def __str__(self) -> str:
        return self.text()

    def text(self, percent: bool = True) -> str:
        """Format ``84.3 ± 1.2 (82.1 to 86.5)`` in percent or as fractions, without the parts that are NaN."""
        mean, std, low, high = (
            f"{100 * value:.1f}" if percent else f"{value:.3f}" for value in (self.mean, self.std, self.low, self.high)
        )
        spread = "" if math.isnan(self.std) else f" ± {std}"
        return f"{mean}{spread}" + ("" if math.isnan(self.low) else f" ({low} to {high})")


@dataclass(frozen=True)
class Comparison:
    """Comparison of two sets on the same images.

    Args:
        difference: Score of the first set minus score of the second.
        p: Two-sided bootstrap p-value of the sign of the difference.
    """

    difference: Estimate
    p: float

    def __str__(self) -> str:
        return f"{self.difference}, p = {self.p:.3f}"


def student_interval(
    values: Sequence[float], level: float | None = 0.95, bounds: tuple[float, float] = (-math.inf, math.inf)
) -> Estimate:
    """Compute the mean and t-interval over students: ``mean ± t_{n-1, (1+level)/2} std / sqrt(n)``.

    The interval covers the mean of further students of the same set on the same test images. It is cut at the ends of
    the metric's range, which never lowers its coverage. Two students are too few: their interval is NaN.

    Args:
        values: One score per student. NaN propagates to the result.
        level: Confidence level. ``None`` computes no interval and allows a single student.
        bounds: Smallest and largest possible value of the metric.

    Raises:
        ValueError: There are no values, or fewer than two for an interval.
    """
    n = len(values)
    if n < (1 if level is None else 2):
        raise ValueError(f"students={n}; an interval needs at least 2, a mean alone (level=None) at least 1")
    scores = np.asarray(values, np.float64)
    mean, std = float(scores.mean()), float(scores.std(ddof=1)) if n > 1 else math.nan
    if level is None:
        return Estimate(mean, std, math.nan, math.nan, math.nan, n, "students")
    _check_level(level)
    return Estimate(mean, std, *t_interval(mean, std, n, level, bounds), level, n, "students")


def bootstrap_interval(
    predictions: Predictions, metric: str = "acc", level: float = 0.95, resamples: int | None = None, seed: int = 0
) -> Estimate:
    """Compute the percentile bootstrap interval of a metric over test images or groups of images.

    The interval covers the score of these students on other images from the same source. Images of one patient or
    lesion are resampled together. With fewer than about twenty groups it is too narrow. Resampling raises the expected
    calibration error, so its interval may lie above the score.

    Args:
        predictions: Predictions of the students of one set.
        metric: Name of a metric in `registry.METRICS`.
        level: Confidence level.
        resamples: Number of resamples. ``None`` takes the default of the metric.
        seed: Seed of the resampling.

    Raises:
        ValueError: The metric is unknown, or there are fewer than two images or groups.
    """
    _check_level(level)
    score = weighted_statistic(metric, predictions.logits, predictions.targets, predictions.spec)
    units = resampling_units(predictions.groups, len(predictions.targets))
    drawn = bootstrap(
        score, units, get_metric(metric, predictions.spec).resamples if resamples is None else resamples, seed
    )
    return _estimate(score, drawn, units, predictions.groups is not None, level)


def paired_bootstrap(
    a: Predictions,
    b: Predictions,
    metric: str = "acc",
    level: float = 0.95,
    resamples: int | None = None,
    seed: int = 0,
) -> Comparison:
    """Compare two sets by bootstrapping the score of a minus the score of b over common images or groups.

    Each resample scores both sets on the same images, so images that are hard for both cancel. With d* the differences
    of R resamples, ``p = min(1, 2 (1 + min(#{d* <= 0}, #{d* >= 0})) / (R + 1))``. The variation from retraining the
    students is not included (see `student_interval`).

    Args:
        a: Predictions of the students of the first set.
        b: Predictions of the students of the second set on the same images in the same order.
        metric: Name of a metric in `registry.METRICS`.
        level: Confidence level.
        resamples: Number of resamples. ``None`` takes the default of the metric.
        seed: Seed of the resampling.

    Raises:
        ValueError: Targets, classes, split or groups differ.
    """
    _check_level(level)
    check_same_images(a, b)
    first = weighted_statistic(metric, a.logits, a.targets, a.spec)
    second = weighted_statistic(metric, b.logits, b.targets, b.spec)

    def score(counts: Floats) -> Floats:
        return first(counts) - second(counts)

    groups = a.groups if a.groups is not None else b.groups
    units = resampling_units(groups, len(a.targets))
    drawn = bootstrap(score, units, get_metric(metric, a.spec).resamples if resamples is None else resamples, seed)
    known = drawn[~np.isnan(drawn)]
    tail = min(int((known <= 0).sum()), int((known >= 0).sum()))
    p = min(1.0, 2 * (1 + tail) / (1 + len(known))) if len(known) else math.nan
    return Comparison(_estimate(score, drawn, units, groups is not None, level), p)


def wilson_half_width(n: int, acc: float, level: float = 0.95) -> float:
    """Compute the half width of the Wilson interval of an accuracy measured on n images.

    ``z / (1 + z²/n) * sqrt(p (1 - p) / n + z² / 4n²)``, z the normal quantile of ``(1 + level) / 2`` and p the
    fraction of n nearest to ``acc``. For grouped images the number of groups is the conservative n.

    Args:
        n: Number of images or groups of the split.
        acc: Measured or expected accuracy. 0.5 gives the widest interval.
        level: Confidence level.

    Raises:
        ValueError: There are no images, or the accuracy is not a fraction.

    Reference:
        Wilson: Probable Inference, the Law of Succession, and Statistical Inference, JASA 22, 1927.
    """
    if n < 1:
        raise ValueError(f"n={n} images; an accuracy needs at least 1")
    if not 0 <= acc <= 1:
        raise ValueError(f"acc={acc} is not a fraction; divide percent by 100")
    _check_level(level)
    ends = stats.binomtest(round(acc * n), n).proportion_ci(level, method="wilson")
    return float(ends.high - ends.low) / 2


def small_split_warning(
    n: int, acc: float, split: str = "val", limit: float = 0.05, level: float = 0.95, over: str = "images"
) -> str | None:
    """Return a warning if accuracy is known less precisely than ``limit`` on a split; otherwise ``None``.

    >>> small_split_warning(78, 0.75)
    '78 validation images: accuracy is known to ± 9.5 points'
    """
    if (half := wilson_half_width(n, acc, level)) <= limit:
        return None
    return f"{n} {SPLITS.get(split, split)} {over}: accuracy is known to ± {100 * half:.1f} points"


def resampling_units(groups: Tensor | None, images: int) -> Rows:
    """Return the unit ``(N,)`` that each image is resampled with: its group, or itself where groups are unknown."""
    return np.arange(images) if groups is None else np.unique(groups.numpy(), return_inverse=True)[1]


def _estimate(score: WeightedScore, drawn: Floats, units: Rows, grouped: bool, level: float) -> Estimate:
    """Build the estimate from the score of all images and the percentiles of its resamples."""
    known = drawn[~np.isnan(drawn)]
    if len(known) < 0.99 * len(drawn):  # a few do not move the percentiles
        lost = f"{len(drawn) - len(known)} of {len(drawn)} resamples hold too few classes for this metric"
        warnings.warn(f"{lost}; the interval uses the others", stacklevel=3)
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2]) if len(known) else (math.nan, math.nan)
    std = float(known.std(ddof=1)) if len(known) > 1 else math.nan
    mean, over = float(score(np.ones((1, len(units))))[0]), "groups" if grouped else "images"
    return Estimate(mean, std, float(low), float(high), level, int(units.max()) + 1, over)


def check_same_images(a: Predictions, b: Predictions) -> None:
    """Raise ValueError if two predictions are not on the same images."""
    if a.spec.class_names != b.spec.class_names or a.split != b.split:
        ours, theirs = (f"{len(of.spec.class_names)} classes on {of.split}" for of in (a, b))
        raise ValueError(f"the first predictions are of {ours}, the second of {theirs}; compare on the same images")
    if a.targets.shape != b.targets.shape or not torch.equal(a.targets, b.targets):
        sizes = f"{len(a.targets)} and {len(b.targets)} images"
        raise ValueError(f"the targets differ ({sizes}); score both sets on the same images in the same order")
    if a.groups is not None and b.groups is not None and not _same_parts(a.groups, b.groups):
        raise ValueError("the groups differ; score both sets on the same images in the same order")


def _same_parts(a: Tensor, b: Tensor) -> bool:
    """Return True if two numberings group the images equally."""
    pairs = torch.stack([a, b], 1).unique(dim=0)  # (U, 2)
    return len(a) == len(b) and len(pairs) == len(a.unique()) == len(b.unique())


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level={level}; it must lie between 0 and 1, as .95 does")
