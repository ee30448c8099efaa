"""Correlations, given a third and within data sets, and the bootstrap that draws data sets."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest

from lightning_distill.indicator import CORRELATIONS, clustered_bootstrap, partial_correlation
from lightning_distill.indicator.correlation import kendall, pearson, spearman, within


def pairs(n=12, seed=0, ties=False):
    random = np.random.default_rng(seed)
    x = random.normal(size=n)
    y = 0.6 * x + random.normal(size=n)
    return (x.round(), y.round()) if ties else (x, y)


def ranks(values):
    """Mean ranks, by counting."""
    return np.array([sum(v < w for v in values) + (sum(v == w for v in values) + 1) / 2 for w in values])


@pytest.mark.parametrize("ties", [False, True])
def test_correlations_by_plain_loops(ties):
    x, y = pairs(ties=ties)

    def r(a, b):
        a, b = a - a.mean(), b - b.mean()
        return (a * b).sum() / math.sqrt((a * a).sum() * (b * b).sum())

    signs = [(np.sign(x[i] - x[j]), np.sign(y[i] - y[j])) for i, j in combinations(range(len(x)), 2)]
    untied = [sum(bool(pair[side]) for pair in signs) for side in (0, 1)]
    tau = sum(a * b for a, b in signs) / math.sqrt(untied[0] * untied[1])
    assert pearson(x, y) == pytest.approx(r(x, y))
    assert spearman(x, y) == pytest.approx(r(ranks(x), ranks(y)))
    assert kendall(x, y) == pytest.approx(tau)


def test_ranks_see_order_only_and_every_correlation_sees_a_falling_line():
    x, y = pairs()
    for name, correlate in CORRELATIONS.items():
        assert correlate(x, 3 - 2 * x) == pytest.approx(-1)
        assert correlate(2 * x + 1, y) == pytest.approx(correlate(x, y))
        bent = correlate(x, np.exp(3 * x))
        assert (bent == pytest.approx(1)) == (name != "pearson")


@pytest.mark.parametrize(("x", "y"), [([1, 2], [1, 2]), ([1, 1, 1], [1, 2, 3]), ([1, 2, 3], [5, 5, 5]), ([], [])])
@pytest.mark.parametrize("correlate", CORRELATIONS.values(), ids=CORRELATIONS)
def test_no_correlation_without_three_points_that_vary(correlate, x, y, recwarn):
    assert math.isnan(correlate(x, y))
    assert not recwarn


def residuals(values, control):
    line = np.column_stack([np.ones(len(control)), control])
    return values - line @ np.linalg.lstsq(line, values, rcond=None)[0]


@pytest.mark.parametrize("seed", range(3))
def test_partial_correlation_is_that_of_the_residuals(seed):
    random = np.random.default_rng(seed)
    z = random.normal(size=15)
    x, y = z + random.normal(size=15), 2 * z + random.normal(size=15)
    rest_x, rest_y = residuals(x, z), residuals(y, z)
    expected = (rest_x * rest_y).sum() / np.sqrt((rest_x**2).sum() * (rest_y**2).sum())
    assert partial_correlation(x, y, z) == pytest.approx(expected)
    assert partial_correlation(x, y, z) == pytest.approx(partial_correlation(y, x, z))


def test_what_a_third_variable_explains_is_taken_out():
    random = np.random.default_rng(0)
    z = random.normal(size=4000)
    x, y = z + random.normal(size=4000), z + random.normal(size=4000)
    assert pearson(x, y) == pytest.approx(0.5, abs=0.05)
    assert abs(partial_correlation(x, y, z)) < 0.05
    assert partial_correlation(x, x + z, z) == pytest.approx(1)


def test_no_partial_correlation_where_nothing_is_left():
    x, y = pairs()
    for control in (np.ones(12), x, 1 - 2 * y):
        assert math.isnan(partial_correlation(x, y, control))
    assert math.isnan(partial_correlation(x[:3], y[:3], [1, 2, 4]))


def test_within_takes_out_the_mean_of_each_data_set():
    values = [1.0, 3.0, 10.0, 20.0]
    assert within(values, list("aabb")).tolist() == [-1, 1, -5, 5]
    assert within(values, list("abcd")).tolist() == [0, 0, 0, 0]
    assert values == [1.0, 3.0, 10.0, 20.0]
    # with two data sets, a variable that is constant in each takes out the same
    x, y = pairs(8)
    names, constant = list("aaaabbbb"), [0.2] * 4 + [0.7] * 4
    assert partial_correlation(x, y, constant) == pytest.approx(pearson(within(x, names), within(y, names)))


def simulate(random, clusters=25, points=4):
    """Points of a data set lie together; the true correlation over all data sets is 1 / (1 + 1 + .25)."""
    shared = random.normal(size=(clusters, 1))
    noise = random.normal(size=(2, clusters, 1)) + 0.5 * random.normal(size=(2, clusters, points))
    x, y = shared + noise
    return x.ravel(), y.ravel(), [str(i) for i in range(clusters) for _ in range(points)]


def test_bootstrap_over_data_sets_covers_the_truth_where_one_over_points_does_not():
    def covered(number, by_point):
        x, y, names = simulate(np.random.default_rng(number))
        clusters = [str(i) for i in range(len(x))] if by_point else names
        interval = clustered_bootstrap(lambda r: float(np.corrcoef(x[r], y[r])[0, 1]), clusters, 100, number)
        return interval.low <= 1 / 2.25 <= interval.high

    by_set, by_point = (np.mean([covered(i, by_point) for i in range(100)]) for by_point in (False, True))
    assert 0.85 <= by_set <= 0.99
    assert by_point < by_set - 0.15


def test_a_resample_holds_whole_data_sets():
    names = list("aabbbccdde")
    seen = []
    clustered_bootstrap(lambda rows: float(seen.append(rows) or 0), names, 50)
    for rows in seen:
        counts = np.bincount(rows, minlength=10)
        for name in "abcde":
            assert len({counts[i] for i in range(10) if names[i] == name}) == 1
        assert sum({name: counts[names.index(name)] for name in "abcde"}.values()) == 5
    assert len({tuple(sorted(rows)) for rows in seen}) > 20


def test_bootstrap_is_seeded_widens_with_level_and_leaves_out_what_is_no_number():
    random = np.random.default_rng(0)
    x = random.normal(size=12)
    names = list("aabbccddeeff")
    mean = lambda rows: float(x[rows].mean())  # noqa: E731
    first = clustered_bootstrap(mean, names, 400, seed=3)
    assert first == clustered_bootstrap(mean, names, 400, seed=3)
    assert first != clustered_bootstrap(mean, names, 400, seed=4)
    narrow = clustered_bootstrap(mean, names, 400, seed=3, level=0.5)
    assert first.low < narrow.low < narrow.high < first.high
    assert first.defined == 1
    some = clustered_bootstrap(lambda r: math.nan if 0 in r and 2 in r else mean(r), names, 400, seed=3)
    assert 0.5 < some.defined < 1
    assert math.isfinite(some.low)
    none = clustered_bootstrap(lambda r: math.nan, names, 40)
    assert math.isnan(none.low)
    assert none.defined == 0


def test_a_few_data_sets_make_no_interval():
    interval = clustered_bootstrap(lambda r: 1.0, list("aaabbbccd"))
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)
    with pytest.raises(ValueError, match="resamples=0; an interval needs at least 1"):
        clustered_bootstrap(lambda r: 1.0, list("abcde"), resamples=0)
