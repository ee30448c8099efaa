"""Predict the accuracy of distilled sets from that of random subsets: points, statistics and the included study."""

from lightning_distill.indicator.correlation import CORRELATIONS, Interval, clustered_bootstrap, partial_correlation
from lightning_distill.indicator.points import Point, read_points
from lightning_distill.indicator.predictors import DifficultyStats, knn_accuracy, measure_predictors, separability
from lightning_distill.indicator.study import MethodFit, Prediction, Study, fit_study, read_study

__all__ = [
    "CORRELATIONS",
    "DifficultyStats",
    "Interval",
    "MethodFit",
    "Point",
    "Prediction",
    "Study",
    "clustered_bootstrap",
    "fit_study",
    "knn_accuracy",
    "measure_predictors",
    "partial_correlation",
    "read_points",
    "read_study",
    "separability",
]
