"""Lower bound on epsilon against a re-derivation, and canaries in a run."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from conftest import blobs

from lightning_distill import ArrayDataModule
from lightning_distill.leakage.canaries import CanaryAudit, audit_canaries, count_correct, make_canaries
from lightning_distill.leakage.epsilon import epsilon_lower_bound, p_value
from lightning_distill.leakage.measure import Measurer
from lightning_distill.leakage.members import members_of
from lightning_distill.leakage.recipes import FullRecipe, PickRecipe


def tail(trials, at_least, probability):
    """P[Binomial >= at_least] by summing exact terms."""
    terms = [
        math.comb(trials, k) * probability**k * (1 - probability) ** (trials - k) for k in range(at_least, trials + 1)
    ]
    return sum(terms)


@pytest.mark.parametrize(("guesses", "correct", "epsilon"), [(20, 15, 0.0), (50, 40, 1.0), (30, 30, 2.5), (10, 3, 0.7)])
def test_the_p_value_without_delta_is_a_binomial_tail(guesses, correct, epsilon):
    probability = Fraction(math.exp(epsilon) / (1 + math.exp(epsilon)))
    assert p_value(60, guesses, correct, epsilon) == pytest.approx(float(tail(guesses, correct, probability)), rel=1e-9)


def test_the_p_value_with_delta_adds_the_steepest_slope():
    m, r, v, epsilon, delta = 100, 40, 30, 0.8, 1e-4
    q = math.exp(epsilon) / (1 + math.exp(epsilon))
    slopes = [(tail(r, v - i, q) - tail(r, v, q)) / i for i in range(1, v + 1)]
    assert p_value(m, r, v, epsilon, delta) == pytest.approx(tail(r, v, q) + 2 * m * delta * max(slopes), rel=1e-9)


def test_the_bound_is_where_the_p_value_crosses_the_level():
    bound = epsilon_lower_bound(100, 60, 55)
    assert p_value(100, 60, 55, bound) == pytest.approx(0.05, abs=1e-6)
    assert epsilon_lower_bound(100, 60, 30) == 0
    assert epsilon_lower_bound(100, 60, 55, delta=1e-3) < bound
    assert epsilon_lower_bound(100, 60, 55, confidence=0.99) < bound
    with pytest.raises(ValueError, match="61 correct of 60"):
        epsilon_lower_bound(100, 60, 61)


def test_randomised_response_is_rarely_bounded_above_its_epsilon():
    random, epsilon, wrong = np.random.default_rng(0), 1.0, 0
    for _ in range(100):
        included = random.random(100) < 0.5
        answers = np.where(random.random(100) < 1 / (1 + math.exp(-epsilon)), included, ~included)
        guesses, correct = count_correct(answers + 0.01 * random.random(100), included)
        wrong += epsilon_lower_bound(100, guesses, correct) > epsilon
    assert wrong <= 12  # 5 % of 100 are 5


def test_guesses_are_the_extreme_quarters():
    included = np.arange(40) < 20
    assert count_correct(np.arange(40)[::-1], included) == (20, 20)
    assert count_correct(np.arange(40), included) == (20, 0)


def data():
    return ArrayDataModule(*(blobs(2, count, 8, 1, seed) for seed, count in enumerate((30, 60, 6))), name="blobs")


@pytest.mark.parametrize("kind", ["mislabelled", "out_of_distribution"])
def test_canaries_are_images_of_the_data_with_other_labels(kind):
    members = members_of(data())
    images, labels = make_canaries(members, kind, 40, seed=1)
    assert images.shape == (40, 1, 8, 8)
    assert images.dtype == np.uint8
    assert set(labels) == {0, 1}
    if kind == "mislabelled":
        rows = [np.flatnonzero((members.held_images == image).all((1, 2, 3)))[0] for image in images]
        assert (members.held_labels[rows] != labels).all()
    with pytest.raises(ValueError, match="500"):
        make_canaries(members, "mislabelled", 500, 0)


def test_a_set_of_all_images_violates_a_small_claim_and_a_set_of_few_does_not():
    module = data()
    members = members_of(module)
    measurer = Measurer(members, network="convnet_w16", protocol="tiny", queries=1)
    shipped = PickRecipe("random", "random", ipc=[60, 60])  # ships nearly all images of 60 + 40 canaries
    leaky = audit_canaries(shipped, module, members, measurer, count=80, claimed=0.5, kind="out_of_distribution")
    assert leaky.score == "distance"
    assert leaky.epsilon > 0.5
    assert leaky.violated
    assert "VIOLATED" in leaky.sentence()
    few = audit_canaries(PickRecipe("random", "random", ipc=1), module, members, measurer, count=80, claimed=2.0)
    assert few.epsilon < 2.0
    assert not few.violated
    assert "does not prove it" in few.sentence()
    assert not CanaryAudit("mislabelled", "confidence", 10, 4, 4, 1.0, 0.0, None).violated
    audit_canaries(FullRecipe(), module, members, measurer, count=8)
