"""Metrics of images against independent derivations of their formulas."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
import torch
from scipy import linalg, signal

from lightning_distill.evaluation.fidelity import ms_ssim, neighbours
from lightning_distill.evaluation.fidelity.frechet import FD, equal_number, frechet_distance
from lightning_distill.evaluation.fidelity.kid import kernel_distance
from lightning_distill.evaluation.fidelity.metric import Comparison, Sample
from lightning_distill.evaluation.fidelity.neighbours import NEIGHBOUR_SCORES, neighbour_scores
from lightning_distill.spec import DataSpec

SPEC = DataSpec("x", (1, 28, 28), ("a", "b"), (100.0,), (50.0,))


def features(count, width=6, shift=0.0, seed=0):
    return (np.random.default_rng(seed).normal(size=(count, width)) + shift).astype(np.float32)


def sample(count, width=6, seed=0):
    return Sample(torch.zeros(count, 1, 28, 28), np.arange(count) % 2, features(count, width, seed=seed))


def comparison(reference, counts, draws=3):
    return Comparison(reference, SPEC, counts, draws, 0, search=None)


def mmd(a, b):
    """Unbiased estimate with the cubic kernel, pair by pair."""

    def kernel(x, y):
        return (float(x @ y) / len(x) + 1) ** 3

    n = len(a)
    own = [sum(kernel(z[i], z[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1)) for z in (a, b)]
    return own[0] + own[1] - 2 * np.mean([[kernel(x, y) for y in b] for x in a])


def test_the_kernel_distance_is_that_of_its_formula():
    a, b = features(12).astype(np.float64), features(12, shift=0.4, seed=1).astype(np.float64)
    assert kernel_distance(a.astype(np.float32), b.astype(np.float32)) == pytest.approx(mmd(a, b), rel=1e-5)


def test_the_kernel_distance_takes_equal_numbers_and_does_not_depend_on_them():
    real, same, other = features(400), features(40, seed=1), features(40, shift=0.5, seed=2)
    drawn = [kernel_distance(real, features(40, seed=seed)) for seed in range(1, 31)]
    assert abs(np.mean(drawn)) < 3 * np.std(drawn) / 30**0.5 + 0.02  # unbiased at a tenth of the images
    assert abs(kernel_distance(real, features(400, seed=31))) < 0.05
    assert kernel_distance(real, other) > max(drawn)
    before = torch.random.get_rng_state()
    assert kernel_distance(real, same, 1) == kernel_distance(real, same, 1) != kernel_distance(real, same, 2)
    assert torch.equal(before, torch.random.get_rng_state())


def test_the_frechet_distance_is_that_of_its_formula():
    a, b = features(50), features(60, shift=0.3, seed=1) * 1.5
    s1, s2 = np.cov(a.astype(np.float64), rowvar=False), np.cov(b.astype(np.float64), rowvar=False)
    gap = a.astype(np.float64).mean(0) - b.astype(np.float64).mean(0)
    expected = gap @ gap + np.trace(s1 + s2 - 2 * linalg.sqrtm(s1 @ s2).real)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(a, a) == pytest.approx(0, abs=1e-6)


def test_frechet_distances_of_a_table_are_taken_at_equal_numbers():
    reference, small, middle, large = sample(50, seed=9), sample(11), sample(12, seed=1), sample(40, seed=2)
    table = comparison(reference, (11, 12, 40))
    assert FD.unresolvable(small, table) == "11 images, it needs 12 (twice the 6 features)"
    assert FD.unresolvable(middle, table) == FD.unresolvable(large, table) == ""
    assert equal_number(large, table) == 12
    assert FD.compute(middle, table) == {
        "fd": frechet_distance(reference.features, middle.features),
        "fd_images": 12,
    }
    found = FD.compute(large, table)
    assert found["fd_images"] == 12
    assert found["fd"] > 1.5 * frechet_distance(reference.features, large.features)  # fewer images: a larger value
    assert FD.compute(large, comparison(reference, (40,)))["fd"] == frechet_distance(reference.features, large.features)
    assert "11 reference images" in FD.unresolvable(large, comparison(small, (40,)))


def by_loops(real, images, k):
    """The four scores by their definitions, pair by pair."""

    def radius(points, i):
        return sorted(np.linalg.norm(points[i] - points[j]) for j in range(len(points)) if j != i)[k - 1]

    real, images = real.astype(np.float64), images.astype(np.float64)
    real_radii = [radius(real, i) for i in range(len(real))]
    image_radii = [radius(images, i) for i in range(len(images))]
    near = [[np.linalg.norm(x - y) for y in images] for x in real]
    inside = [[near[i][j] < real_radii[i] for j in range(len(images))] for i in range(len(real))]
    return {
        "precision": np.mean([any(row[j] for row in inside) for j in range(len(images))]),
        "recall": np.mean([any(near[i][j] < image_radii[j] for j in range(len(images))) for i in range(len(real))]),
        "density": np.sum(inside) / (k * len(images)),
        "coverage": np.mean([any(row) for row in inside]),
    }


@pytest.mark.parametrize(("m", "n", "shift", "k"), [(30, 20, 0.0, 5), (20, 33, 0.8, 5), (9, 8, 0.3, 2)])
def test_neighbour_scores_are_those_of_their_definitions(m, n, shift, k, monkeypatch):
    real, images = features(m), features(n, shift=shift, seed=1)
    expected = by_loops(real, images, k)
    assert neighbour_scores(real, images, k) == pytest.approx(expected)
    monkeypatch.setattr(neighbours, "DISTANCES", 50)  # in several parts
    assert neighbour_scores(real, images, k) == pytest.approx(expected)
    oracle = pytest.importorskip("prdc").compute_prdc(real, images, nearest_k=k)
    assert oracle == pytest.approx(expected)


def test_fewer_images_than_neighbours_are_not_resolvable():
    assert NEIGHBOUR_SCORES.unresolvable(sample(5), comparison(sample(30), (5,))) == (
        "5 images, it needs 6 (5 neighbours of each)"
    )
    assert "5 reference images" in NEIGHBOUR_SCORES.unresolvable(sample(30), comparison(sample(5), (30,)))
    assert NEIGHBOUR_SCORES.unresolvable(sample(6), comparison(sample(6), (6,))) == ""


def similarity_by_numpy(a, b, scales, window, sigma):
    """MS-SSIM of two grey images from 0 to 1; the smallest scale is mirrored at its borders, the others are cut."""
    at = np.arange(window) - window // 2
    line = np.exp(-(at**2) / (2 * sigma**2))
    kernel = np.outer(line, line) / line.sum() ** 2

    def blur(x):
        return signal.convolve2d(x, kernel, "valid")

    weights = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])[:scales]
    result = 1.0
    for scale, weight in enumerate(weights / weights.sum()):
        if scale == scales - 1:
            a, b = (np.pad(x, window // 2, "reflect") for x in (a, b))
        ma, mb = blur(a), blur(b)
        va, vb, cov = blur(a * a) - ma**2, blur(b * b) - mb**2, blur(a * b) - ma * mb
        contrast = (2 * cov + 0.03**2) / (va + vb + 0.03**2)
        luminance = (2 * ma * mb + 0.01**2) / (ma**2 + mb**2 + 0.01**2)
        value = (contrast * luminance if scale == scales - 1 else contrast).mean()
        result *= max(value, 0.0) ** weight
        half = len(a) // 2
        a, b = (x[: 2 * half, : 2 * half].reshape(half, 2, half, 2).mean((1, 3)) for x in (a, b))
    return result


def test_the_similarity_of_pairs_is_that_of_its_formula():
    random = np.random.default_rng(0)
    base = random.integers(0, 200, (28, 28))
    noisy = np.stack([np.clip(base + random.integers(0, level, base.shape), 0, 255) for level in (1, 20, 50)])
    of = Sample(torch.from_numpy(noisy[:, None].astype(np.uint8)), np.zeros(3, np.int64), features(3))
    pairs = np.array([[0, 0], [0, 1], [1, 2]])
    expected = [similarity_by_numpy(noisy[i] / 255, noisy[j] / 255, 3, 5, 0.68) for i, j in pairs]
    found = ms_ssim.pair_similarity(of, pairs, SPEC)
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert found[0] == pytest.approx(1)
    assert found[2] < found[1] < 1
    assert ms_ssim.class_similarity(of, SPEC) == pytest.approx(ms_ssim.pair_similarity(
        of, np.array(list(combinations(range(3), 2))), SPEC
    ).mean())  # fmt: skip


@pytest.mark.parametrize("side", [5, 8, 16, 28, 32, 48, 64, 96, 128, 176, 224])
def test_every_side_has_scales_that_are_computed(side):
    scales, window, _ = ms_ssim.scales_and_window(side)
    assert (scales, window) == {28: (3, 5), 64: (4, 5), 128: (5, 5), 224: (5, 11)}.get(side, (scales, window))
    spec = DataSpec("x", (3, side, side + 3), ("a", "b"), (0.0,) * 3, (1.0,) * 3, max_value=1.0)
    pixels = torch.rand(2, *spec.shape).half()
    value = ms_ssim.class_similarity(Sample(pixels, np.zeros(2, np.int64), features(2)), spec)
    assert 0 <= value < 1
    assert math.isfinite(value)


def test_pairs_are_of_one_class_and_of_different_images():
    classes = np.array([0] * 4 + [1] * 40 + [2])
    pairs = ms_ssim.pairs_within_classes(classes, 0)
    assert list(pairs) == [0, 1]
    assert len(pairs[0]) == 6
    assert len(pairs[1]) == ms_ssim.PAIRS
    for name, rows in pairs.items():
        assert (classes[rows] == name).all()
        assert (rows[:, 0] != rows[:, 1]).all()
    table = comparison(sample(9), (9,))
    alone = Sample(torch.zeros(2, 1, 28, 28), np.array([0, 1]), features(2))
    assert "no class has two images" in ms_ssim.MS_SSIM.unresolvable(alone, table)
