"""Rates, their intervals, and what is not resolvable."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from scipy import stats

from lightning_distill.leakage.exposure import by_unit, most_exposed, started_rate, worst_class
from lightning_distill.leakage.rates import (
    attack_rates,
    positive_predictive_value,
    threshold_at,
)
from lightning_distill.utils.statistics import clopper_pearson


def pairs(targets: int, images: int, seed: int = 0):
    random = np.random.default_rng(seed)
    halves = [random.permutation(images) < images // 2 for _ in range(targets // 2)]
    return np.concatenate([np.stack([half, ~half]) for half in halves])


@pytest.mark.parametrize(("successes", "trials"), [(0, 7), (3, 10), (10, 10), (50, 1000)])
def test_the_interval_is_the_exact_one(successes, trials):
    exact = stats.binomtest(successes, trials).proportion_ci(0.95, "exact")
    assert clopper_pearson(successes, trials) == pytest.approx((exact.low, exact.high), abs=1e-12)
    low, high = clopper_pearson(successes, trials)
    if 0 < successes < trials:  # the definition: tails of 2.5 %
        assert stats.binom.sf(successes - 1, trials, low) == pytest.approx(0.025)
        assert stats.binom.cdf(successes, trials, high) == pytest.approx(0.025)


def test_a_perfect_attack_and_a_useless_one():
    members = pairs(8, 400)
    perfect = attack_rates(members + 0.0, members, 400)
    assert perfect.auc == perfect.balanced_accuracy == perfect.rates[0].tpr == 1
    assert perfect.rates[0].calibrated_tpr == 1
    assert perfect.rates[0].calibrated_fpr == 0
    useless = attack_rates(np.zeros(members.shape), members, 400)
    assert useless.auc == 0.5
    assert useless.balanced_accuracy == 0.5
    assert useless.rates[0].tpr == 0, "one threshold calls all images members or none"


def test_the_interval_of_the_auc_holds_a_half_for_scores_without_membership():
    hits = 0
    for seed in range(60):
        members = pairs(8, 100, seed)
        scores = np.random.default_rng([seed, 1]).normal(size=members.shape)
        rates = attack_rates(scores, members, 100)
        hits += rates.auc_low <= 0.5 <= rates.auc_high
    assert hits >= 51  # 95 % of 60 are 57; below 51 has a probability under 0.001


def test_a_single_target_has_the_interval_of_hanley_and_mcneil():
    random = np.random.default_rng(0)
    members = np.arange(200) < 100
    rates = attack_rates(random.normal(size=200) + members, members, 200)
    auc = rates.auc
    q1, q2 = auc / (2 - auc), 2 * auc * auc / (1 + auc)
    error = math.sqrt((auc * (1 - auc) + 99 * (q1 - auc**2) + 99 * (q2 - auc**2)) / 1e4)
    assert rates.auc_high - auc == pytest.approx(1.96 * error)
    assert math.isnan(rates.rates[0].calibrated_tpr), "nothing to calibrate on"


def test_a_rate_below_one_non_member_is_not_resolvable():
    members = pairs(8, 80)
    rates = attack_rates(np.random.default_rng(0).normal(size=members.shape), members, 80)
    assert rates.non_members == 80
    assert str(rates.rates[0]) == str(rates.rates[1]) == "not resolvable"
    plain = json.loads(json.dumps(rates.to_dict()))
    assert plain["rates"][0]["tpr"] is None
    members = pairs(8, 400)
    rates = attack_rates(np.random.default_rng(0).normal(size=members.shape), members, 400)
    assert rates.rates[0].resolvable
    assert not rates.rates[1].resolvable
    assert attack_rates(members + 0.0, members, 400).rates[0].low == pytest.approx(0.025 ** (1 / 400))


def test_the_rate_is_that_of_the_largest_threshold_that_keeps_the_false_positives():
    random = np.random.default_rng(0)
    members = np.tile(np.arange(1000) < 500, (1, 1))
    scores = random.normal(size=(1, 1000)) + members
    rate = attack_rates(scores, members, 1000).rates[0]
    outside = np.sort(scores[~members])[::-1]
    expected = (scores[members] > outside[5]).mean()  # 5 of 500 non-members lie above the sixth
    assert rate.tpr == pytest.approx(expected)


def test_a_threshold_of_other_targets_is_used_for_the_calibrated_rate():
    members = pairs(8, 1000)
    scores = np.random.default_rng(0).normal(size=members.shape)
    shifted = scores.copy()
    shifted[:2] += 10  # one pair of targets on another scale: its own threshold would hide that
    own = attack_rates(shifted, members, 1000).rates[0]
    assert own.calibrated_fpr > 0.2
    assert attack_rates(scores, members, 1000).rates[0].calibrated_fpr == pytest.approx(0.01, abs=0.006)


def test_a_single_target_is_called_at_the_threshold_of_others():
    random = np.random.default_rng(0)
    others = random.normal(size=(8, 1000)), pairs(8, 1000)
    members = np.arange(1000)[None] < 500
    rate = attack_rates(random.normal(size=(1, 1000)) + 2 * members, members, 1000, others).rates[0]
    threshold = np.sort(others[0][~others[1]])[-41]  # one percent of 4,000 non-members lie above
    assert stats.norm.sf(threshold - 2) == pytest.approx(rate.calibrated_tpr, abs=0.06)
    assert rate.calibrated_fpr < 0.03


def test_predictive_value_follows_bayes():
    assert positive_predictive_value(0.5, 0.01, 0.1) == pytest.approx(0.05 / (0.05 + 0.009))
    assert math.isnan(positive_predictive_value(0, 0, 0.1))


@pytest.mark.parametrize("fpr", [0.0, 0.01, 0.1, 0.5])
def test_thresholds_are_exceeded_by_at_most_the_share(fpr):
    scores = np.random.default_rng(0).normal(size=200)
    threshold = threshold_at(scores, fpr)
    assert (scores > threshold).mean() == pytest.approx(fpr, abs=1e-12)


def test_bad_scores_are_refused():
    members = pairs(8, 20)
    with pytest.raises(ValueError, match="not finite"):
        attack_rates(np.full(members.shape, np.nan), members, 20)
    with pytest.raises(ValueError, match="members and non-members"):
        attack_rates(np.zeros((1, 20)), np.ones((1, 20), bool), 20)


def test_exposed_images_classes_and_starts_are_found():
    members, random = pairs(16, 200), np.random.default_rng(0)
    scores = random.normal(size=members.shape)
    scores[:, 7] += 50 * members[:, 7]  # always found
    scores[:, 9] += 50  # always called, member or not
    first = most_exposed(scores, members, 0.02)
    assert (first[0].number, first[0].found, first[0].runs) == (7, 8, 8)
    assert 9 not in [one.number for one in first if one.wrongly == 0]
    strata = np.arange(200) % 4
    scores = random.normal(size=members.shape) + 2 * members * (strata == 2)
    assert worst_class(scores, members, strata)[0] == 2
    started = np.zeros_like(members)
    started[:, 7] = members[:, 7]
    scores[:, 7] = 50 * members[:, 7]
    rate = started_rate(scores, members, started, 1 / 200)
    assert rate["tpr"] == 1
    assert rate["images"] == 1
    assert started_rate(scores, members, np.zeros_like(members), 0.01) is None


def test_a_patient_is_as_exposed_as_the_most_exposed_image():
    scores = np.array([[1.0, 5.0, 2.0, -1.0]])
    assert by_unit(scores, np.array([0, 0, 1, 1])).tolist() == [[5.0, 2.0]]
