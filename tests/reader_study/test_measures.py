"""Signal detection, agreement and power against formulas, scikit-learn, simulations and published figures."""

from __future__ import annotations

import math
from itertools import combinations
from statistics import NormalDist

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from lightning_distill.reader_study import (
    auc,
    detectable_accuracy,
    fleiss_kappa,
    mean_cohen_kappa,
    pairs_d_prime,
    power,
    sensitivity,
    trials_needed,
)
from lightning_distill.reader_study.agreement import cohen_kappa
from lightning_distill.reader_study.signal_detection import RATINGS, rating_counts, right_answers

Z = NormalDist().inv_cdf


def counts_of(ratings, weights=None):
    """Counts of the ratings of one reader."""
    ratings = np.asarray(ratings, float)[None]
    return rating_counts(ratings, np.ones((1, ratings.shape[1])) if weights is None else weights)[0, 0]


def rate(evidence):
    """Ratings of Gaussian evidence, cut at nine thresholds around 0."""
    place = np.digitize(evidence, np.linspace(-1.6, 1.6, 9))
    return np.asarray(RATINGS)[place]


@pytest.mark.parametrize(("hits", "misses", "alarms", "rejections"), [(40, 10, 15, 35), (20, 0, 0, 20), (1, 3, 2, 0)])
def test_sensitivity_is_that_of_the_log_linear_formula(hits, misses, alarms, rejections):
    synthetic = counts_of([3] * hits + [-2] * misses)
    real = counts_of([1] * alarms + [-5] * rejections)
    hit, alarm = (hits + 0.5) / (hits + misses + 1), (alarms + 0.5) / (alarms + rejections + 1)
    d_prime, criterion = sensitivity(synthetic, real)
    assert float(d_prime) == pytest.approx(Z(hit) - Z(alarm))
    assert float(criterion) == pytest.approx(-0.5 * (Z(hit) + Z(alarm)))
    right, answers = right_answers(synthetic, real)
    assert (right, answers) == (hits + rejections, hits + misses + alarms + rejections)


def test_the_area_is_that_of_scikit_learn_with_ties_and_missing_answers():
    random = np.random.default_rng(0)
    for _ in range(20):
        synthetic, real = random.choice(RATINGS, 30, p=np.arange(1, 11) / 55), random.choice(RATINGS, 25)
        truth = [1] * 30 + [0] * 25
        area = float(auc(counts_of(synthetic), counts_of(real)))
        assert area == pytest.approx(roc_auc_score(truth, [*synthetic, *real]))
        assert area == pytest.approx(float(auc(counts_of([*synthetic, np.nan]), counts_of(real))))
    assert math.isnan(float(auc(counts_of([1.0]), counts_of([np.nan]))))


def test_simulated_readers_get_back_their_sensitivity_and_criterion():
    random, d = np.random.default_rng(1), 1.2
    synthetic, real = (rate(random.normal(mean - 0.3, 1, 40_000)) for mean in (d / 2, -d / 2))
    d_prime, criterion = sensitivity(counts_of(synthetic), counts_of(real))
    assert float(d_prime) == pytest.approx(d, abs=0.03)
    assert float(criterion) == pytest.approx(0.3, abs=0.02)
    assert float(auc(counts_of(synthetic), counts_of(real))) == pytest.approx(
        NormalDist().cdf(d / math.sqrt(2)), abs=0.01
    )
    right = (random.normal(d, 1, 40_000) > random.normal(0, 1, 40_000)).sum()  # pairs: the larger evidence is chosen
    assert float(pairs_d_prime(right, 40_000)) == pytest.approx(d, abs=0.03)
    assert float(pairs_d_prime(7, 10)) == pytest.approx(math.sqrt(2) * Z(7.5 / 11))


def test_fleiss_kappa_of_the_published_example():
    """Ten subjects, fourteen raters, five categories: the worked example after Fleiss (1971), kappa = 0.210."""
    table = [
        [0, 0, 0, 0, 14], [0, 2, 6, 4, 2], [0, 0, 3, 5, 6], [0, 3, 9, 2, 0], [2, 2, 8, 1, 1],
        [7, 7, 0, 0, 0], [3, 2, 6, 3, 0], [2, 5, 3, 2, 2], [6, 5, 2, 1, 0], [0, 2, 2, 3, 7],
    ]  # fmt: skip
    assert fleiss_kappa(np.array(table, float)) == pytest.approx(0.210, abs=5e-4)
    assert fleiss_kappa(np.array([[3, 0], [0, 3.0]])) == 1
    assert math.isnan(fleiss_kappa(np.array([[3, 0], [3, 0.0]])))
    with pytest.raises(ValueError, match="items have 2 to 3 raters"):
        fleiss_kappa(np.array([[3, 0], [2, 0.0]]))


def test_fleiss_kappa_of_two_raters_is_scotts_pi():
    random = np.random.default_rng(2)
    answers = random.integers(0, 2, (2, 50))
    counts = np.stack([(answers == choice).sum(0) for choice in (0, 1)], 1).astype(float)
    observed, shares = (answers[0] == answers[1]).mean(), counts.sum(0) / 100
    assert fleiss_kappa(counts) == pytest.approx((observed - (shares**2).sum()) / (1 - (shares**2).sum()))


def test_cohens_kappa_is_that_of_the_formula_on_what_both_answered():
    random = np.random.default_rng(3)
    answers = random.integers(0, 2, (3, 60)).astype(float)
    answers[0, :20] = answers[1, :20] = answers[2, :20]
    answers[1, 5] = answers[2, 30] = np.nan
    kappas = []
    for one, other in combinations(answers, 2):
        both = [(a, b) for a, b in zip(one, other, strict=True) if a == a and b == b]
        observed = np.mean([a == b for a, b in both])
        first, second = (np.mean([pair[side] for pair in both]) for side in (0, 1))
        expected = first * second + (1 - first) * (1 - second)
        kappas.append((observed - expected) / (1 - expected))
    assert mean_cohen_kappa(answers) == pytest.approx(np.mean(kappas))
    assert math.isnan(cohen_kappa([], []))
    assert math.isnan(cohen_kappa(["real"] * 4, ["real"] * 4))
    assert cohen_kappa(["a", "b"], ["a", "b"]) == 1


def enumerated_power(n, p):
    """Power of the exact test by enumeration of all outcomes."""
    ways = [math.comb(n, k) for k in range(n + 1)]
    tails = [min(1.0, 2 * min(sum(ways[: k + 1]), sum(ways[k:])) / 2**n) for k in range(n + 1)]
    return sum(ways[k] * p**k * (1 - p) ** (n - k) for k in range(n + 1) if tails[k] <= 0.05)


def test_power_is_that_of_an_enumeration():
    for n in (5, 6, 17, 50, 64):
        for p in (0.5, 0.6, 0.75):
            assert float(power(n, p)) == pytest.approx(enumerated_power(n, p), abs=1e-9), (n, p)
    assert enumerated_power(40, detectable_accuracy(40)) == pytest.approx(0.8, abs=1e-6)
    assert math.isnan(detectable_accuracy(5))


def test_numbers_of_answers_hold_their_power_and_one_less_does_not():
    for accuracy in (0.65, 0.7, 0.9):
        needed = trials_needed(accuracy)
        assert enumerated_power(needed - 1, accuracy) < 0.8
        assert all(enumerated_power(n, accuracy) >= 0.8 for n in range(needed, needed + 30))
    assert 200 <= trials_needed(0.6) <= 250
    with pytest.raises(ValueError, match=r"accuracy=0\.5"):
        trials_needed(0.5)
