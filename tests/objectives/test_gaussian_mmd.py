from __future__ import annotations

import pytest
import torch
from reference.gaussian_mmd import gaussian_mmd as reference

from lightning_distill.objectives import gaussian_mmd, mean_embedding_distance
from lightning_distill.objectives.embedding import EMBEDDING_DISTANCES, get_embedding_distance


def normal(rows: int, width: int = 7, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_equals_plain_loops(shift):
    real, synthetic = normal(9) + shift, normal(4, seed=1)
    assert gaussian_mmd(real, synthetic).item() == pytest.approx(reference(real, synthetic), rel=1e-4)


def test_keeps_its_digits_far_from_the_origin():
    real, synthetic = normal(9) + 100, normal(4, seed=1) + 101
    assert gaussian_mmd(real, synthetic).item() == pytest.approx(reference(real, synthetic), rel=1e-3)


def test_zero_for_equal_samples_in_any_order_and_number():
    real = normal(6)
    assert gaussian_mmd(real, real.flip(0)).item() == pytest.approx(0, abs=1e-5)
    assert gaussian_mmd(real, real.repeat(2, 1)).item() == pytest.approx(0, abs=1e-5)


def test_sees_a_spread_that_means_do_not():
    real = normal(8)
    squeezed = real.mean(0) + 0.1 * (real - real.mean(0))
    assert mean_embedding_distance(real, squeezed).item() == pytest.approx(0, abs=1e-10)
    assert gaussian_mmd(real, squeezed).item() > 0.1


def test_scales_like_a_squared_distance():
    real, synthetic = normal(8), normal(5, seed=1)
    assert gaussian_mmd(3 * real, 3 * synthetic).item() == pytest.approx(
        9 * gaussian_mmd(real, synthetic).item(), rel=1e-4
    )


def test_gradient_with_a_constant_width_reaches_only_the_synthetic_images():
    real, synthetic = normal(5, 3).requires_grad_(), normal(3, 3, seed=1).requires_grad_()
    gaussian_mmd(real, synthetic).backward()
    assert real.grad is None
    rows = torch.cat([real, synthetic]).detach()
    h = (rows[:, None] - rows).square().sum(-1).sum() / (8 * 7)
    expected = torch.zeros(3, 3)
    for w in (0.25, 0.5, 1.0, 2.0, 4.0):  # d k(a, b) / da = -2 (a - b) k / (w h)
        for m in range(3):
            for others, weight in ((synthetic, 2 / 9), (real, -2 / 15)):
                delta = (synthetic[m] - others).detach()
                kernel = (-delta.square().sum(1) / (w * h)).exp()
                expected[m] += h * weight * (-2 * delta * kernel[:, None] / (w * h)).sum(0) / 5
    torch.testing.assert_close(synthetic.grad, expected, rtol=1e-4, atol=1e-5)


def test_one_point_or_equal_points_are_no_error():
    point = torch.ones(1, 4, requires_grad=True)
    value = gaussian_mmd(torch.ones(3, 4), point)
    value.backward()
    assert value.item() == 0
    assert torch.equal(point.grad, torch.zeros(1, 4))


def test_autocast_changes_nothing():
    real, synthetic = normal(64), normal(8, seed=1)
    with torch.autocast("cpu", torch.bfloat16):
        cast = gaussian_mmd(real, synthetic)
    assert torch.equal(cast, gaussian_mmd(real, synthetic))
    assert gaussian_mmd(real.bfloat16(), synthetic.bfloat16()).dtype == torch.float32


def test_registry_names_the_way_out():
    assert list(EMBEDDING_DISTANCES) == ["mean", "moments", "characteristic", "mmd"]
    assert get_embedding_distance("mean") is mean_embedding_distance
    with pytest.raises(ValueError, match="unknown objective 'mdm'; use one of mean, moments, characteristic, mmd"):
        get_embedding_distance("mdm")
