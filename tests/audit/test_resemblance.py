"""Correlation and SSIM to the nearest training image, against scipy and numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from lightning_distill.audit import image_checks
from lightning_distill.audit.resemblance import resemblance
from lightning_distill.spec import DataSpec


def make_spec(shape):
    return DataSpec("made", shape, ("a", "b"), (0.0,) * shape[0], (1.0,) * shape[0])


def reference_ssim(a, b, sigma, radius):
    """Equation 13 of the paper with population moments, mean over pixels and channels, mirrored at the borders."""

    def smooth(x):
        return gaussian_filter(x, sigma, radius=radius, mode="mirror")

    values = []
    for x, y in zip(a / 255.0, b / 255.0, strict=True):
        mx, my = smooth(x), smooth(y)
        vx, vy, vxy = smooth(x * x) - mx**2, smooth(y * y) - my**2, smooth(x * y) - mx * my
        c1, c2 = 0.01**2, 0.03**2
        values.append(((2 * mx * my + c1) * (2 * vxy + c2)) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
    return np.mean(values)


def reference_correlation(a, b):
    a, b = ((x - x.mean((1, 2), keepdims=True)).ravel() for x in (a.astype(float), b.astype(float)))
    return a @ b / np.sqrt((a @ a) * (b @ b))


@pytest.mark.parametrize(
    ("shape", "sigma", "radius"), [((3, 20, 16), 1.5, 5), ((1, 8, 9), 1.5, 5), ((1, 4, 9), 3 / 3.5, 3)]
)
def test_both_measures_equal_their_definitions(shape, sigma, radius, monkeypatch):
    monkeypatch.setattr(image_checks, "CHUNK_BYTES", 7 * int(np.prod(shape)))  # several chunks of training images
    random = np.random.default_rng(0)
    train = random.integers(0, 256, (30, *shape)).astype(np.uint8)
    queries = (0.5 * train[[3, 29, 11]] + 0.5 * random.integers(0, 256, (3, *shape))).astype(np.uint8)
    found = resemblance(torch.from_numpy(queries), train, make_spec(shape))
    assert found.rows.tolist() == [3, 29, 11]
    for row, (query, near) in enumerate(zip(queries, train[found.rows], strict=True)):
        assert found.correlation[row] == pytest.approx(reference_correlation(query, near), abs=1e-5)
        assert found.ssim[row] == pytest.approx(reference_ssim(query, near, sigma, radius), abs=1e-5)
    best = [max(reference_correlation(query, image) for image in train) for query in queries]
    np.testing.assert_allclose(found.correlation, best, atol=1e-5)


def test_a_copy_has_ones_and_a_darker_copy_keeps_its_correlation():
    train = np.random.default_rng(0).integers(0, 256, (10, 1, 12, 12)).astype(np.uint8)
    copy = resemblance(torch.from_numpy(train[:2].copy()), train, make_spec((1, 12, 12)))
    assert copy.correlation == pytest.approx(1)
    assert copy.ssim == pytest.approx(1)
    darker = resemblance(torch.from_numpy(train[4:5]) / 2 + 10, train, make_spec((1, 12, 12)))
    assert darker.rows.tolist() == [4]
    assert darker.correlation == pytest.approx(1)
    assert darker.ssim < 0.95


def test_constant_tiny_and_other_shapes():
    train = np.random.default_rng(0).integers(0, 256, (4, 1, 1, 2)).astype(np.uint8)
    tiny = resemblance(torch.zeros(1, 1, 1, 2), train, make_spec((1, 1, 2)))
    assert np.isnan(tiny.ssim).all()
    assert tiny.correlation.tolist() == [0]
    assert tiny.to_dict() == {
        "images": 1,
        "correlation": {"median": 0.0, "max": 0.0},
        "ssim": {"median": None, "max": None},
    }
    with pytest.raises(ValueError, match=r"the images are \(1, 3, 3\), the training images \(1, 1, 2\)"):
        resemblance(torch.zeros(1, 1, 3, 3), train, make_spec((1, 1, 2)))
