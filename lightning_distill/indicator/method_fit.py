"""``MethodFit``: linear fit from random-subset accuracy to distilled accuracy of one method, with held-out errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from lightning_distill.indicator.points import Point
from lightning_distill.indicator.regression import (
    BASELINES,
    fit_line,
    left_out_errors,
    linear_fit,
    mean_error,
    root_mean_square,
)
from lightning_distill.utils.statistics import t_quantile

Range = tuple[float, float]


@dataclass(frozen=True)
class Prediction:
    """Predicted accuracy of a distilled set with its 95 % interval.

    Args:
        acc: Predicted accuracy, a fraction.
        low: Lower end of the interval, a fraction.
        high: Upper end of the interval, a fraction.
    """

    acc: float
    low: float
    high: float


@dataclass(frozen=True)
class MethodFit:
    """Linear fit ``distilled = intercept + slope * random`` of one method. Accuracies and errors are fractions.

    Args:
        method: Class name of the distiller.
        intercept: Intercept a.
        slope: Slope b.
        points: Number of points n.
        datasets: Number of data sets G.
        error: Mean absolute error on held-out data sets, see `mean_error`.
        spread: Root mean square error on held-out data sets, see `root_mean_square`.
        worst: Name of the data set with the largest error.
        worst_error: Mean absolute error on that data set.
        error_of_mean: Mean absolute error of the baseline `mean_of_others`.
        error_of_same: Mean absolute error of the baseline `same_as_random`.
        error_of_gain: Mean absolute error of the baseline `gain_of_others`.
        closer: Number of data sets on which the fit has a smaller error than all three baselines.
        classes: Minimum and maximum number of classes among the points.
        ipc: Minimum and maximum images per class.
        random_acc: Minimum and maximum x.
    """

    method: str
    intercept: float
    slope: float
    points: int
    datasets: int
    error: float
    spread: float
    worst: str
    worst_error: float
    error_of_mean: float
    error_of_same: float
    error_of_gain: float
    closer: int
    classes: Range
    ipc: Range
    random_acc: Range

    @property
    def half_width(self) -> float:
        """Half the width of the prediction interval, ``t(.975, G - 1) * spread`` for G data sets.

        The held-out errors include the uncertainty of the fit. The degrees of freedom count data sets instead of
        points, because errors of points of one data set are correlated.
        """
        return t_quantile(self.datasets) * self.spread

    @property
    def useful(self) -> bool:
        """True if the mean error of the fit is smaller than that of every baseline."""
        return self.error < min(self.error_of_mean, self.error_of_same, self.error_of_gain)

    def predict(self, random_acc: float) -> Prediction:
        """Predict the accuracy of a distilled set, limited to [0, 1].

        Args:
            random_acc: Accuracy of random subsets of the same size, a fraction.
        """
        value = self.intercept + self.slope * random_acc
        ends = value, value - self.half_width, value + self.half_width
        return Prediction(*(min(1.0, max(0.0, end)) for end in ends))

    def describe_error(self) -> str:
        """Describe the held-out error of the fit and of the baselines."""
        errors = (
            f"{self.method}: mean error on held-out data sets {100 * self.error:.1f} points (worst: {self.worst}, "
            f"{100 * self.worst_error:.1f} points). Baselines: random-subset accuracy {100 * self.error_of_same:.1f}, "
            f"random-subset accuracy plus mean gain {100 * self.error_of_gain:.1f}, mean accuracy "
            f"{100 * self.error_of_mean:.1f}. "
        )
        if self.useful:
            return f"{errors}The fit is closer than all three on {self.closer} of {self.datasets} data sets."
        return f"{errors}The fit does not beat the baselines: do not rely on it."


def fit_method(method: str, points: Sequence[Point]) -> MethodFit:
    """Fit one method and compute its held-out errors.

    Args:
        method: Class name of the distiller.
        points: Points of any methods; only those of ``method`` are used.

    Raises:
        ValueError: If the points of the method are from fewer than two data sets.
    """
    own = [point for point in points if point.method == method]
    errors = {name: left_out_errors(own, rule) for name, rule in {"fit": linear_fit, **BASELINES}.items()}
    each = {name: {data: fmean(map(abs, e)) for data, e in by_dataset.items()} for name, by_dataset in errors.items()}
    worst = max(each["fit"], key=lambda data: each["fit"][data])
    intercepts, slope = fit_line(own)
    return MethodFit(
        method=method,
        intercept=intercepts[method],
        slope=slope,
        points=len(own),
        datasets=len(errors["fit"]),
        error=mean_error(errors["fit"]),
        spread=root_mean_square(errors["fit"]),
        worst=worst,
        worst_error=each["fit"][worst],
        error_of_mean=mean_error(errors["mean"]),
        error_of_same=mean_error(errors["same"]),
        error_of_gain=mean_error(errors["gain"]),
        closer=sum(each["fit"][data] < min(each[name][data] for name in BASELINES) for data in each["fit"]),
        classes=_range([point.classes for point in own]),
        ipc=_range([point.ipc for point in own]),
        random_acc=_range([point.random_acc for point in own]),
    )


def _range(values: Sequence[float]) -> Range:
    return min(values), max(values)
