"""Epsilon against Google's accountant where it is installed, and against the closed form of the Gaussian mechanism."""

from __future__ import annotations

import math

import pytest

pytest.importorskip("opacus", reason="the extra dp is not installed")

from lightning_distill.signals.guarantee import Mechanism, epsilon_of, noise_multiplier

CASES = [
    [Mechanism(4.0, 0.1, 100)],
    [Mechanism(10.0, 1.0, 100)],
    [Mechanism(1.1, 0.02, 200), Mechanism(20.0, 1.0, 1)],
]


def delta_of_gaussian(epsilon: float, mu: float) -> float:
    """Exact delta of a Gaussian mechanism of sensitivity / sigma mu (Balle, Wang 2018, theorem 8)."""
    cdf = lambda x: 0.5 * math.erfc(-x / math.sqrt(2))  # noqa: E731
    return cdf(mu / 2 - epsilon / mu) - math.exp(epsilon) * cdf(-mu / 2 - epsilon / mu)


def test_full_batches_cost_what_the_exact_formula_says():
    epsilon = epsilon_of([Mechanism(10.0, 1.0, 100)], 1e-5)
    assert delta_of_gaussian(epsilon, mu=math.sqrt(100) / 10.0) == pytest.approx(1e-5, rel=0.05)


@pytest.mark.parametrize("mechanisms", CASES)
def test_epsilon_is_that_of_googles_accountant(mechanisms):
    accounting = pytest.importorskip("dp_accounting", reason="dp-accounting is not installed")
    from dp_accounting.pld import PLDAccountant
    from dp_accounting.rdp import RdpAccountant

    event = accounting.ComposedDpEvent([
        accounting.SelfComposedDpEvent(
            accounting.PoissonSampledDpEvent(m.rate, accounting.GaussianDpEvent(m.sigma)), m.repetitions
        )
        for m in mechanisms
    ])  # fmt: skip
    exact = PLDAccountant().compose(event).get_epsilon(1e-5)
    assert epsilon_of(mechanisms, 1e-5) == pytest.approx(exact, rel=0.02)
    assert epsilon_of(mechanisms, 1e-5, "rdp") >= exact
    assert epsilon_of(mechanisms, 1e-5, "rdp") == pytest.approx(
        RdpAccountant().compose(event).get_epsilon(1e-5), rel=0.1
    )


@pytest.mark.parametrize("epsilon", [0.5, 4.0, 20.0])
def test_noise_is_the_least_that_suffices(epsilon):
    sigma = noise_multiplier(epsilon, 1e-5, 0.1, 50)
    assert epsilon_of([Mechanism(sigma, 0.1, 50)], 1e-5) <= epsilon
    assert sigma <= 0.31 or epsilon_of([Mechanism(0.99 * sigma, 0.1, 50)], 1e-5) > epsilon


def test_earlier_releases_are_charged():
    earlier = [Mechanism(20.0, 1.0, 50)]
    assert noise_multiplier(4.0, 1e-5, 1.0, 50, earlier) > noise_multiplier(4.0, 1e-5, 1.0, 50)
    with pytest.raises(ValueError, match="earlier releases already cost epsilon"):
        noise_multiplier(0.5, 1e-5, 1.0, 50, earlier)
