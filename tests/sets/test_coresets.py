"""Choosing real images, against slow loops."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest

from lightning_distill import DataSpec
from lightning_distill.sets.coresets import METHODS, counts_for_ratio, select


def spec(num_classes=2, channels=1, mean=0.0, std=1.0):
    names = tuple(map(str, range(num_classes)))
    return DataSpec("toy", (channels, 2, 2), names, (mean,) * channels, (std,) * channels)


def features(rows=30, width=5, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, width)).astype(np.float32)


def distance(a, b):
    return sum((float(x) - float(y)) ** 2 for x, y in zip(a, b, strict=True))


def slow_herding(rows, count):
    """Try every candidate at every step: which one brings the mean of the picks closest to the mean of all?"""
    mean, picked = rows.astype(np.float64).mean(0), []
    for _ in range(count):
        scores = {
            candidate: distance(mean, rows[[*picked, candidate]].astype(np.float64).mean(0))
            for candidate in range(len(rows))
            if candidate not in picked
        }
        picked.append(min(scores, key=scores.get))
    return picked


def slow_kcenter(rows, count):
    """Start next to the mean; then the row whose nearest pick is farthest away."""
    mean = rows.astype(np.float64).mean(0)
    picked = [min(range(len(rows)), key=lambda row: distance(rows[row], mean))]
    while len(picked) < count:
        others = [row for row in range(len(rows)) if row not in picked]
        picked.append(max(others, key=lambda row: min(distance(rows[row], rows[pick]) for pick in picked)))
    return picked


def slow_kmeans(rows, count, seed):
    """The row nearest to each centre in turn, no row twice; the centres are scikit-learn's."""
    from sklearn.cluster import KMeans

    picked = []
    for centre in KMeans(count, n_init=1, random_state=seed).fit(rows).cluster_centers_:
        others = [row for row in range(len(rows)) if row not in picked]
        picked.append(min(others, key=lambda row: distance(rows[row], centre)))
    return picked


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("count", [1, 2, 7, 30])
def test_herding_and_kcenter_equal_slow_loops(count, seed):
    rows = features(seed=seed)
    assert METHODS["herding"](rows, count, 0).tolist() == slow_herding(rows, count)
    assert METHODS["kcenter"](rows, count, 0).tolist() == slow_kcenter(rows, count)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("count", [1, 2, 7, 30])
def test_kmeans_takes_the_row_nearest_to_each_centre(count, seed):
    rows = features(seed=seed)
    assert METHODS["kmeans"](rows, count, seed).tolist() == slow_kmeans(rows, count, seed)


def test_kmeans_takes_the_middle_of_every_cluster():
    random = np.random.default_rng(0)
    middles = np.array([[0, 0], [50, 0], [0, 50], [50, 50]])
    rows = (middles[:, None] + random.normal(size=(4, 9, 2))).reshape(36, 2).astype(np.float32)
    expected = set()
    for cluster in range(4):
        members = range(9 * cluster, 9 * cluster + 9)
        centre = rows[9 * cluster : 9 * cluster + 9].mean(0)
        expected.add(min(members, key=lambda row, centre=centre: distance(rows[row], centre)))
    assert set(METHODS["kmeans"](rows, 4, 0).tolist()) == expected


def test_herding_comes_closer_to_the_mean_than_chance():
    rows = features(60)
    gap = {
        name: np.mean([distance(rows[METHODS[name](rows, 10, seed)].mean(0), rows.mean(0)) for seed in range(5)])
        for name in ("herding", "random")
    }
    assert gap["herding"] < gap["random"] / 5


def test_kcenter_covers_better_than_chance():
    rows = features(60)

    def radius(picks):
        return max(min(distance(row, rows[pick]) for pick in picks) for row in rows)

    assert radius(METHODS["kcenter"](rows, 10, 0)) < min(radius(METHODS["random"](rows, 10, seed)) for seed in range(5))


@pytest.mark.parametrize("count", [1, 5, 30])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_no_row_is_taken_twice_even_among_equal_rows(method, count):
    for rows in (features(), np.ones((30, 4), np.float32)):
        picks = METHODS[method](rows, count, 0)
        assert len(picks) == len(set(picks.tolist())) == count
        assert picks.min() >= 0
        assert picks.max() < 30


@pytest.mark.parametrize("method", METHODS)
def test_rows_are_seeded(method):
    rows = features()
    first, again, other = (METHODS[method](rows, 6, seed).tolist() for seed in (0, 0, 2**40 + 5))
    assert first == again
    if method in ("random", "kmeans"):
        assert first != other
    else:
        assert first == other


def pictures(counts=(12, 7, 20), seed=0):
    random = np.random.default_rng(seed)
    labels = random.permutation(np.repeat(np.arange(len(counts)), counts))
    return random.integers(0, 256, (len(labels), 1, 2, 2)).astype(np.uint8), labels


@pytest.mark.parametrize("counts", [(1, 1, 1), (5, 2, 9), (12, 7, 20), (30, 7, 41)], ids=str)
@pytest.mark.parametrize("method", METHODS)
def test_selection_respects_the_counts_is_ordered_by_class_and_repeats_only_when_it_must(method, counts):
    images, labels = pictures()
    chosen = select(method, images, labels, counts, spec(3), 0)
    assert labels[chosen].tolist() == sorted(itertools.chain(*([c] * n for c, n in enumerate(counts))))
    for label, (count, available) in enumerate(zip(counts, (12, 7, 20), strict=True)):
        _, times = np.unique(chosen[labels[chosen] == label], return_counts=True)
        assert len(times) == min(count, available)
        assert times.min() >= count // available
        assert times.max() <= -(-count // available)


@pytest.mark.parametrize("method", ["herding", "kcenter"])
def test_selection_measures_distances_on_normalised_images(method):
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (25, 2, 2, 2)).astype(np.uint8)
    about = DataSpec("toy", (2, 2, 2), ("a", "b"), (10.0, 120.0), (300.0, 2.0))  # the second channel decides
    labels = np.arange(25) % 2
    chosen = select(method, images, labels, (6, 6), about, 0)
    slow = {"herding": slow_herding, "kcenter": slow_kcenter}[method]
    for label in (0, 1):
        members = np.flatnonzero(labels == label)
        normal = (images[members] - np.array([10.0, 120.0])[:, None, None]) / np.array([300.0, 2.0])[:, None, None]
        expected = members[slow(normal.reshape(len(members), -1), 6)]
        assert chosen[labels[chosen] == label].tolist() == expected.tolist()


def test_random_selection_is_seeded_and_other_for_every_class():
    images, labels = pictures((20, 20))
    first, again, other = (select("random", images, labels, (8, 8), spec(2), seed).tolist() for seed in (0, 0, 1))
    assert first == again
    assert first != other
    members = [np.flatnonzero(labels == label).tolist() for label in (0, 1)]
    assert [members[0].index(row) for row in first[:8]] != [members[1].index(row) for row in first[8:]]


def test_random_selection_reads_no_image():
    class Unreadable:
        def __getitem__(self, rows):
            raise AssertionError("an image was read")

    _, labels = pictures()
    assert len(select("random", Unreadable(), labels, (3, 3, 3), spec(3), 0)) == 9


@pytest.mark.parametrize("method", ["kmens", "", "noise"])
def test_an_unknown_selection_is_refused_with_the_known_ones(method):
    images, labels = pictures()
    with pytest.raises(
        ValueError, match=f"unknown coreset method '{method}'; use one of random, herding, kcenter, kmeans"
    ):
        select(method, images, labels, (1, 1, 1), spec(3), 0)


def test_the_closest_selection_is_offered():
    images, labels = pictures()
    with pytest.raises(ValueError, match="the closest is kmeans"):
        select("kmens", images, labels, (1, 1, 1), spec(3), 0)


@pytest.mark.parametrize("method", ["herding", "kcenter", "kmeans"])
def test_selection_measures_distances_on_given_features_and_reads_no_image(method):
    _, labels = pictures()
    rows = features(len(labels))
    chosen = select(method, None, labels, (4, 4, 4), spec(3), 0, rows)
    for label in range(3):
        members = np.flatnonzero(labels == label)
        slow = {"herding": slow_herding, "kcenter": slow_kcenter}.get(method)
        picks = slow(rows[members], 4) if slow else slow_kmeans(rows[members], 4, label)
        assert chosen[labels[chosen] == label].tolist() == members[picks].tolist()


def test_features_of_other_images_and_several_labels_an_image_are_refused():
    images, labels = pictures()
    with pytest.raises(ValueError, match="features has 5 rows for 39 images"):
        select("herding", images, labels, (1, 1, 1), spec(3), 0, features(5))
    with pytest.raises(ValueError, match=r"labels have shape \(39, 3\)"):
        select("random", images, np.eye(3, dtype=int)[labels], (1, 1, 1), spec(3), 0)


def slow_counts(sizes, total):
    """Of all ways to give ``total`` images with at least one a class: the shares' whole parts, then by remainder."""
    quotas = [Fraction(total * n, sum(sizes)) for n in sizes]
    counts = [int(q) for q in quotas]
    for _ in range(total - sum(counts)):
        lucky = max(range(len(sizes)), key=lambda c: (quotas[c] - counts[c], -c))
        counts[lucky] += 1
    if 0 not in counts:
        return counts
    others = [c for c, n in enumerate(counts) if n]
    rest = slow_counts([sizes[c] for c in others], total - (len(sizes) - len(others)))
    return [rest[others.index(c)] if c in others else 1 for c in range(len(sizes))]


@pytest.mark.parametrize("sizes", [(5, 5, 5), (1, 2, 50), (60, 1, 1, 1), (7, 3, 9, 11, 2), (90, 6, 4), (1, 1)], ids=str)
def test_counts_follow_the_classes_by_largest_remainder(sizes):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    for total in range(len(sizes), sum(sizes) + 1):
        counts = counts_for_ratio(labels, total, "natural")
        assert counts == slow_counts(sizes, total)
        assert sum(counts) == total
        assert all(1 <= n <= available for n, available in zip(counts, sizes, strict=True))
        equal = counts_for_ratio(labels, total, "balanced")
        assert sum(equal) == total
        assert max(equal) - min(equal) <= 1
        assert equal == sorted(equal, reverse=True)
    assert counts_for_ratio(labels, sum(sizes), "natural") == list(sizes)


def test_bad_counts_are_refused():
    labels = np.array([0, 0, 1, 3])
    with pytest.raises(ValueError, match="class 2 has no images"):
        counts_for_ratio(labels, 4, "natural")
    with pytest.raises(ValueError, match="total=2 images for 3 classes; every class needs at least 1"):
        counts_for_ratio(np.array([0, 1, 2, 2]), 2, "balanced")
    with pytest.raises(ValueError, match="unknown ratio 'even'; use one of balanced, natural"):
        counts_for_ratio(np.array([0, 1, 2, 2]), 3, "even")
