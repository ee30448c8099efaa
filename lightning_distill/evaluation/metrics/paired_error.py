"""Standard error of the difference of two sets, over evaluation images and students together."""

from __future__ import annotations

import math

import numpy as np

from lightning_distill.evaluation.metrics.bootstrap import bootstrap, weighted_statistic
from lightning_distill.evaluation.metrics.intervals import check_same_images, resampling_units
from lightning_distill.evaluation.metrics.metric import Floats
from lightning_distill.evaluation.metrics.predictions import Predictions
from lightning_distill.evaluation.metrics.registry import get_metric


def paired_standard_error(
    a: Predictions, b: Predictions, metric: str = "acc", resamples: int | None = None, seed: int = 0
) -> float:
    r"""Compute the standard error of the mean score of set a minus that of set b.

    It covers further students of the two sets and other images of the same source. Both sets are scored on the same
    images, and student s of both has the same seed, so that only differences enter. Let :math:`d_{sn}` be the
    difference of student s on image n, with random effects of students, images and both:

    .. math:: d_{sn} = \mu + a_s + b_n + e_{sn}, \qquad
        \mathrm{Var}(\bar d) = \sigma_a^2 / S + \sigma_b^2 / N + \sigma_e^2 / SN.

    The variance over students, :math:`V_s = \mathrm{var}_s(\bar d_s) / S`, estimates the first and the last term. The
    bootstrap variance over images, :math:`V_n`, estimates the last two. Their sum counts
    :math:`V_e = \sigma_e^2 / SN` twice. The bootstrap variances :math:`V_{n,s}` of the single students over the same
    resamples give :math:`V_e = (\mathrm{mean}_s V_{n,s} - V_n) / (S - 1)`, for every metric that is a mean over
    students. The result is the root of :math:`\max(V_s, V_n, V_s + V_n - V_e)`: neither term alone may exceed the
    total, which matters for few students.

    Groups (patients, lesions) are resampled in place of images where they are known. Architectures are not sampled:
    :math:`V_s` and :math:`V_e` are computed within each, and their means divided by the number of architectures. With
    one student of each architecture the result is the root of :math:`V_n`.

    Args:
        a: Predictions of the students of the first set.
        b: Predictions of the students of the second set, with the same seeds and architectures, on the same images.
        metric: Name of a metric in `registry.METRICS`.
        resamples: Number of resamples. ``None`` takes the default of the metric.
        seed: Seed of the resampling.

    Returns:
        Standard error in the unit of the metric; NaN where the metric is undefined on most resamples.

    Raises:
        ValueError: Targets, classes, split, groups or students differ, or there are fewer than two images or groups.

    Reference:
        Owen: The pigeonhole bootstrap, Annals of Applied Statistics 1, 2007, for the variance of crossed effects.
    """
    check_same_images(a, b)
    if (list(a.seeds), list(a.architectures)) != (list(b.seeds), list(b.architectures)):
        raise ValueError(f"the students differ: seeds {list(a.seeds)} and {list(b.seeds)}; train the same students")
    groups = a.groups if a.groups is not None else b.groups
    units, count = resampling_units(groups, len(a.targets)), get_metric(metric, a.spec).resamples
    differences, drawn = [], []
    for student in range(len(a.logits)):
        first, second = (weighted_statistic(metric, each.logits[[student]], each.targets, each.spec) for each in (a, b))

        def difference(weights: Floats) -> Floats:
            return first(weights) - second(weights)  # noqa: B023 (called in this iteration only)

        differences.append(float(difference(np.ones((1, len(units))))[0]))
        drawn.append(bootstrap(difference, units, count if resamples is None else resamples, seed))
    draws = np.stack(drawn)  # (S, R), one column for each resample of the images
    draws = draws[:, ~np.isnan(draws).any(0)]
    if draws.shape[1] < 2:
        return math.nan
    over_images = float(draws.mean(0).var(ddof=1))
    over_students, both = _student_terms(np.array(differences), draws, list(a.architectures))
    return math.sqrt(max(over_students, over_images, over_students + over_images - both))


def _student_terms(differences: Floats, draws: Floats, architectures: list[str]) -> tuple[float, float]:
    """Return V_s and V_e from differences ``(S,)`` and resampled differences ``(S, R)``."""
    names = list(dict.fromkeys(architectures))
    over_students = both = 0.0
    for name in names:
        rows = [i for i, architecture in enumerate(architectures) if architecture == name]
        if len(rows) < 2:
            continue
        over_students += float(differences[rows].var(ddof=1)) / len(rows)
        own, mean = draws[rows].var(1, ddof=1).mean(), draws[rows].mean(0).var(ddof=1)
        both += float(own - mean) / (len(rows) - 1)
    return over_students / len(names) ** 2, both / len(names) ** 2
