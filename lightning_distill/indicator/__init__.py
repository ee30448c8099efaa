"""Predict the accuracy of distilled sets from that of random subsets: points, statistics, the study and its use."""

from lightning_distill.indicator.correlation import CORRELATIONS, Interval, clustered_bootstrap, partial_correlation
from lightning_distill.indicator.method_fit import MethodFit, Prediction
from lightning_distill.indicator.points import Point, match_points, read_points
from lightning_distill.indicator.predict import IndicatorResult, predict_accuracies
from lightning_distill.indicator.predictors import DifficultyStats, knn_accuracy, measure_predictors, separability
from lightning_distill.indicator.rows import IndicatorRow
from lightning_distill.indicator.study import Study, fit_study, read_study

__all__ = [
    "CORRELATIONS",
    "DifficultyStats",
    "IndicatorResult",
    "IndicatorRow",
    "Interval",
    "MethodFit",
    "Point",
    "Prediction",
    "Study",
    "clustered_bootstrap",
    "fit_study",
    "knn_accuracy",
    "match_points",
    "measure_predictors",
    "partial_correlation",
    "predict_accuracies",
    "read_points",
    "read_study",
    "separability",
]
