"""Ways to predict a distilled score, the study's line and honest baselines, and their errors on data sets left out."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import fmean

import numpy as np

from lightning_distill.indicator.points import Point

#: From points to a prediction for a point; NaN where the points say nothing of its method.
Rule = Callable[[Sequence[Point]], Callable[[Point], float]]
#: Signed errors of a rule on each data set, prediction less truth, as fractions.
Errors = dict[str, list[float]]


def fit_line(points: Sequence[Point]) -> tuple[dict[str, float], float]:
    """Least squares of ``y = a_method + b x``: an intercept for each method and one slope.

    ``b = sum (x - mean_m x)(y - mean_m y) / sum (x - mean_m x)^2``, ``a_m = mean_m y - b mean_m x``. Where x does not
    vary within a method, b is 0. With one method this is the ordinary line.

    Args:
        points: x is ``random_acc``, y is ``acc``.
    """
    top = bottom = 0.0
    means = {}
    for method in dict.fromkeys(point.method for point in points):
        pairs = [(point.random_acc, point.acc) for point in points if point.method == method]
        x, y = np.array(pairs).T
        means[method] = x.mean(), y.mean()
        top += float(((x - x.mean()) * (y - y.mean())).sum())
        bottom += float(((x - x.mean()) ** 2).sum())
    slope = top / bottom if bottom > 1e-12 else 0.0
    return {method: float(y - slope * x) for method, (x, y) in means.items()}, slope


def line(points: Sequence[Point]) -> Callable[[Point], float]:
    """The rule of the study: `fit_line`."""
    intercepts, slope = fit_line(points)
    return lambda point: intercepts.get(point.method, math.nan) + slope * point.random_acc


def mean_of_others(points: Sequence[Point]) -> Callable[[Point], float]:
    """An honest baseline: what the method reached on average elsewhere."""
    means = {
        method: fmean(point.acc for point in points if point.method == method)
        for method in dict.fromkeys(point.method for point in points)
    }
    return lambda point: means.get(point.method, math.nan)


def same_as_random(points: Sequence[Point]) -> Callable[[Point], float]:
    """An honest baseline: distillation gains nothing, y = x."""
    return lambda point: point.random_acc


def gain_of_others(points: Sequence[Point]) -> Callable[[Point], float]:
    """An honest baseline: the gain over random subsets is the method's mean gain elsewhere, a line of slope 1."""
    gains = {
        method: fmean(point.acc - point.random_acc for point in points if point.method == method)
        for method in dict.fromkeys(point.method for point in points)
    }
    return lambda point: gains.get(point.method, math.nan) + point.random_acc


BASELINES: dict[str, Rule] = {"mean": mean_of_others, "same": same_as_random, "gain": gain_of_others}


def left_out_errors(points: Sequence[Point], rule: Rule) -> Errors:
    """Leave one data set out: fit on all others, predict every point of it. Points the others cannot say are skipped.

    Args:
        points: of one method or of several.
        rule: how to predict.

    Returns:
        For each data set with a predicted point, its errors.

    Raises:
        ValueError: points of fewer than two data sets.
    """
    datasets = list(dict.fromkeys(point.dataset for point in points))
    if len(datasets) < 2:
        held = ", ".join(datasets) or "none"
        raise ValueError(
            f"the study has points of {len(datasets)} data set ({held}); its error on data it has not seen needs at "
            "least 2: add rows of another data set"
        )
    errors: Errors = {}
    for dataset in datasets:
        predict = rule([point for point in points if point.dataset != dataset])
        found = [predict(point) - point.acc for point in points if point.dataset == dataset]
        if known := [error for error in found if not math.isnan(error)]:
            errors[dataset] = known
    return errors


def mean_error(errors: Errors) -> float:
    """Mean absolute error of each data set, averaged over data sets, so that none counts more for more points."""
    return fmean(fmean(map(abs, own)) for own in errors.values())


def root_mean_square(errors: Errors) -> float:
    """Root of the mean over data sets of their mean squared error."""
    return math.sqrt(fmean(fmean(error**2 for error in own) for own in errors.values()))
