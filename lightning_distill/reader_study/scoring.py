"""Scores of a study: for each set those of each reader, and those of all readers with intervals and agreement."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import binomtest

from lightning_distill.reader_study.agreement import cohen_kappa, fleiss_kappa, mean_cohen_kappa
from lightning_distill.reader_study.answers import Answers
from lightning_distill.reader_study.key import Key
from lightning_distill.reader_study.matrices import Floats, Matrices, answer_matrices
from lightning_distill.reader_study.power import detectable_accuracy
from lightning_distill.reader_study.resampling import bootstrap_intervals, measure
from lightning_distill.reader_study.signal_detection import rating_counts, right_answers

#: Name of the row of all sets, and of all readers.
ALL = "all"


@dataclass(frozen=True)
class Score:
    """Scores of one set by one reader or by all of them; NaN where a measure does not apply.

    Args:
        set: Name of the set, or ``all``.
        reader: Code of the reader, or ``all``.
        trials: Number of different trials.
        answers: Number of answers to first showings.
        right: Number of right ones.
        accuracy: Share of right answers; chance is 0.5.
        exact_low: Lower end of the exact 95 % interval (Clopper and Pearson), for independent answers.
        exact_high: Upper end of it.
        p_value: Two-sided exact test against 0.5, for independent answers.
        low: Lower end of the 95 % bootstrap interval of the accuracy over readers and images; for all readers.
        high: Upper end of it.
        d_prime: Sensitivity d', the mean over readers.
        d_prime_low: Lower end of its bootstrap interval.
        d_prime_high: Upper end of it.
        criterion: Criterion c; negative for readers who tend to "synthetic".
        criterion_low: Lower end of its bootstrap interval.
        criterion_high: Upper end of it.
        auc: Area under the ROC curve of the confidence ratings.
        auc_low: Lower end of its bootstrap interval.
        auc_high: Upper end of it.
        repeats: Number of trials that were answered twice.
        self_agreement: Share of them with the same answer.
        self_kappa: Cohen's kappa between first and second answers.
        cohen_kappa: Mean of Cohen's kappa over pairs of readers.
        fleiss_kappa: Fleiss' kappa of all readers, on the trials that all answered.
        detectable: Accuracy that the test finds with 80 % power at this number of answers.
    """

    set: str
    reader: str
    trials: int
    answers: int
    right: int
    accuracy: float
    exact_low: float
    exact_high: float
    p_value: float
    low: float = math.nan
    high: float = math.nan
    d_prime: float = math.nan
    d_prime_low: float = math.nan
    d_prime_high: float = math.nan
    criterion: float = math.nan
    criterion_low: float = math.nan
    criterion_high: float = math.nan
    auc: float = math.nan
    auc_low: float = math.nan
    auc_high: float = math.nan
    repeats: int = 0
    self_agreement: float = math.nan
    self_kappa: float = math.nan
    cohen_kappa: float = math.nan
    fleiss_kappa: float = math.nan
    detectable: float = math.nan


def score_answers(answers: Answers, key: Key, resamples: int = 2000, seed: int = 0) -> list[Score]:
    """Score the answers of all readers.

    Args:
        answers: Answers, see `read_answers`.
        key: Key of the study.
        resamples: Number of bootstrap resamples.
        seed: Seed of the bootstrap.

    Returns:
        For each set, and for all sets together where there are several: one row for each reader, then one for all.
    """
    names: list[str | None] = [*key.sets, *([None] if len(key.sets) > 1 else [])]
    scores = []
    for name in names:
        matrices = answer_matrices(answers, key, name)
        shown = name or ALL
        for index, reader in enumerate(answers.readers):
            scores.append(Score(shown, reader, **_measures(matrices.of_reader(index), key)))
        together = {**_intervals(matrices, key, resamples, seed), **_between(matrices)}
        scores.append(Score(shown, ALL, **_measures(matrices, key), **together))
    return scores


def _intervals(matrices: Matrices, key: Key, resamples: int, seed: int) -> dict[str, Any]:
    """Return the bootstrap intervals by the names of their fields."""
    limits: dict[str, float] = {}
    for name, (low, high) in bootstrap_intervals(matrices, key.design == "pairs", resamples, seed).items():
        prefix = "" if name == "accuracy" else f"{name}_"
        limits |= {f"{prefix}low": low, f"{prefix}high": high}
    return limits


def _measures(matrices: Matrices, key: Key) -> dict[str, Any]:
    """Compute counts, accuracy with its exact interval, signal detection, self-agreement and power."""
    synthetic, real = _ratings(matrices)
    right, answers = (int(count.sum()) for count in right_answers(synthetic, real))
    weights = np.ones((1, len(matrices.first)))
    shares = {name: float(value[0]) for name, value in measure(synthetic, real, weights, key.design == "pairs").items()}
    low = high = p_value = detectable = math.nan
    if answers:
        test = binomtest(right, answers)
        exact = test.proportion_ci(method="exact")
        low, high, p_value = float(exact.low), float(exact.high), float(test.pvalue)
        detectable = detectable_accuracy(answers)
    both = matrices.repeated[~np.isnan(matrices.repeated).any(-1)]  # (P, 2) of all readers
    return {
        "trials": matrices.size,
        "answers": answers,
        "right": right,
        **shares,
        "exact_low": low,
        "exact_high": high,
        "p_value": p_value,
        "repeats": len(both),
        "self_agreement": float((both[:, 0] == both[:, 1]).mean()) if len(both) else math.nan,
        "self_kappa": cohen_kappa(both[:, 0].tolist(), both[:, 1].tolist()),
        "detectable": detectable,
    }


def _between(matrices: Matrices) -> dict[str, Any]:
    """Compute the agreement between readers; none for a single one."""
    if len(matrices.first) < 2:
        return {}
    complete = matrices.first[:, ~np.isnan(matrices.first).any(0)]  # (R, T)
    counts: Floats = np.stack([(complete == choice).sum(0) for choice in (0, 1)], 1).astype(np.float64)
    return {"cohen_kappa": mean_cohen_kappa(matrices.first), "fleiss_kappa": fleiss_kappa(counts)}


def _ratings(matrices: Matrices) -> tuple[Floats, Floats]:
    """Count the ratings ``(1, R, 10)`` of synthetic and of real images."""
    synthetic, real = (
        rating_counts(ratings, np.ones((1, ratings.shape[1]))) for ratings in (matrices.synthetic, matrices.real)
    )
    return synthetic, real
