"""Rules that predict a distilled accuracy (the study's linear fit and three baselines), and their held-out errors."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict

from lightning_distill.indicator.correlation import within
from lightning_distill.indicator.points import Point

#: Function from points to a predictor; the predictor returns NaN for a method without points.
Rule = Callable[[Sequence[Point]], Callable[[Point], float]]
#: Signed errors of a rule on each data set, prediction minus truth, as fractions.
Errors = dict[str, list[float]]


def fit_line(points: Sequence[Point]) -> tuple[dict[str, float], float]:
    """Fit ``y = a_method + b x`` by least squares: an intercept for each method and one slope.

    ``b = sum (x - mean_m x)(y - mean_m y) / sum (x - mean_m x)^2``, ``a_m = mean_m y - b mean_m x``. The slope is 0 if
    x does not vary within any method. For a single method this is ordinary linear regression.

    Args:
        points: Points of one or several methods; x is ``random_acc``, y is ``acc``.

    Returns:
        The intercept of each method, and the slope.
    """
    methods = [point.method for point in points]
    x, y = np.array([point.random_acc for point in points]), np.array([point.acc for point in points])
    centred = within(x, methods)
    slope = 0.0
    if centred @ centred > 1e-12:
        slope = float(LinearRegression(fit_intercept=False).fit(centred[:, None], within(y, methods)).coef_[0])
    rows = {method: np.array([own == method for own in methods]) for method in dict.fromkeys(methods)}
    return {method: float(y[own].mean() - slope * x[own].mean()) for method, own in rows.items()}, slope


def linear_fit(points: Sequence[Point]) -> Callable[[Point], float]:
    """Return the rule of the study: predict with `fit_line`."""
    intercepts, slope = fit_line(points)
    return lambda point: intercepts.get(point.method, math.nan) + slope * point.random_acc


def mean_of_others(points: Sequence[Point]) -> Callable[[Point], float]:
    """Return a baseline rule: predict the mean accuracy of the method on the other data sets."""
    means = {
        method: fmean(point.acc for point in points if point.method == method)
        for method in dict.fromkeys(point.method for point in points)
    }
    return lambda point: means.get(point.method, math.nan)


def same_as_random(points: Sequence[Point]) -> Callable[[Point], float]:
    """Return a baseline rule: predict the accuracy of the random subset, y = x."""
    return lambda point: point.random_acc


def gain_of_others(points: Sequence[Point]) -> Callable[[Point], float]:
    """Return a baseline rule: predict the random subset's accuracy plus the method's mean gain on other data sets."""
    gains = {
        method: fmean(point.acc - point.random_acc for point in points if point.method == method)
        for method in dict.fromkeys(point.method for point in points)
    }
    return lambda point: gains.get(point.method, math.nan) + point.random_acc


BASELINES: dict[str, Rule] = {"mean": mean_of_others, "same": same_as_random, "gain": gain_of_others}


def left_out_errors(points: Sequence[Point], rule: Rule) -> Errors:
    """Cross-validate a rule by data set: fit on all other data sets, predict every point of the held-out one.

    Args:
        points: Points of one or several methods.
        rule: Rule that is fitted and predicts.

    Returns:
        The errors of each data set. Points without a prediction are left out.

    Raises:
        ValueError: If the points are from fewer than two data sets.
    """
    datasets = [point.dataset for point in points]
    names = list(dict.fromkeys(datasets))
    if len(names) < 2:
        raise ValueError(
            f"the study has points of {len(names)} data set ({', '.join(names) or 'none'}); its error on other data "
            "needs at least 2: add rows of another data set"
        )
    truth = np.array([point.acc for point in points])
    predictions = cross_val_predict(_RuleEstimator(rule), list(points), truth, groups=datasets, cv=LeaveOneGroupOut())
    errors: Errors = {}
    for name in names:
        own = [e for e, of in zip((predictions - truth).tolist(), datasets, strict=True) if of == name]
        if known := [error for error in own if not math.isnan(error)]:
            errors[name] = known
    return errors


def mean_error(errors: Errors) -> float:
    """Return the mean absolute error of each data set, averaged over data sets with equal weights."""
    return fmean(fmean(map(abs, own)) for own in errors.values())


def root_mean_square(errors: Errors) -> float:
    """Return the root of the mean squared error of each data set, averaged over data sets with equal weights."""
    return math.sqrt(fmean(fmean(error**2 for error in own) for own in errors.values()))


class _RuleEstimator(BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    """Adapter of a rule to scikit-learn, with points as samples."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule

    def fit(self, points: Sequence[Point], y: Any = None) -> _RuleEstimator:
        self.predictor_ = self.rule(points)
        return self

    def predict(self, points: Sequence[Point]) -> NDArray[np.float64]:
        return np.array([self.predictor_(point) for point in points])
