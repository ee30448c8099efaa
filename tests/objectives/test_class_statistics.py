from __future__ import annotations

import math

import pytest
import torch

from lightning_distill.objectives import (
    characteristic_function_distance,
    gaussian_mmd,
    mean_embedding_distance,
    moment_distance,
)
from lightning_distill.objectives.class_statistics import (
    CLASS_STATISTICS,
    CharacteristicStatistic,
    ClippedStatistic,
    KernelStatistic,
    clip_rows,
)
from lightning_distill.objectives.gaussian_mmd import WIDTHS


def normal(rows: int, width: int = 7, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


def stored_distance(statistic, real, synthetic) -> torch.Tensor:
    """The distance from sums that were added in two parts, as a bank does."""
    sums = statistic.features(real[:2]).sum(0) + statistic.features(real[2:]).sum(0)
    return statistic.distance((sums / len(real))[None], statistic.features(synthetic).mean(0, keepdim=True)).squeeze()


@pytest.mark.parametrize(("name", "objective"), [("mean", mean_embedding_distance), ("moments", moment_distance)])
def test_stored_sums_give_the_value_and_gradient_of_the_objective(name, objective):
    statistic = CLASS_STATISTICS[name](7, 0, 1.0)
    real, synthetic, again = normal(5), normal(3, seed=1).requires_grad_(), normal(3, seed=1).requires_grad_()
    stored, direct = stored_distance(statistic, real, synthetic), objective(real, again)
    torch.testing.assert_close(stored, direct)
    stored.backward(), direct.backward()
    torch.testing.assert_close(synthetic.grad, again.grad)


def test_stored_characteristic_function_is_that_of_the_same_frequencies():
    statistic = CharacteristicStatistic(7, seed=3)
    real, synthetic = normal(5), normal(3, seed=1)
    expected = characteristic_function_distance(real, synthetic, statistic.frequencies)
    torch.testing.assert_close(stored_distance(statistic, real, synthetic), expected)


def test_random_features_estimate_the_kernel():
    unit = 3.0
    statistic = KernelStatistic(7, seed=0, unit=unit)
    for shift in (0.1, 0.5, 1.0, 2.0):
        a, b = torch.zeros(1, 7), torch.full((1, 7), shift)
        estimate = (statistic.features(a) * statistic.features(b)).sum().item()
        exact = sum(math.exp(-7 * shift**2 / (w * unit)) for w in WIDTHS) / len(WIDTHS)
        assert estimate == pytest.approx(exact, abs=4 / math.sqrt(1280))


def test_stored_mmd_is_close_to_the_exact_one_with_the_same_unit():
    real, synthetic = normal(60), normal(40, seed=1) + 0.7
    rows = torch.cat([real, synthetic])
    unit = (torch.cdist(rows, rows).square().sum() / (len(rows) * (len(rows) - 1))).item()
    stored = stored_distance(KernelStatistic(7, 0, unit), real, synthetic)
    assert stored.item() == pytest.approx(gaussian_mmd(real, synthetic).item(), rel=0.15)


@pytest.mark.parametrize("name", CLASS_STATISTICS)
def test_distances_of_equal_samples_are_zero_and_real_means_get_no_gradient(name):
    statistic = CLASS_STATISTICS[name](7, 0, 1.0)
    rows = normal(6)
    assert stored_distance(statistic, rows, rows.flip(0)).item() < 0.1  # a root of rounding, times 300
    mean = statistic.features(rows).mean(0, keepdim=True).requires_grad_()
    other = statistic.features(normal(3, seed=1)).mean(0, keepdim=True).requires_grad_()
    statistic.distance(mean, other).sum().backward()
    assert mean.grad is None
    assert other.grad.abs().sum() > 0


def test_clipping_bounds_norms_keeps_directions_and_short_rows():
    rows = torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]])
    torch.testing.assert_close(clip_rows(rows, 1.0), torch.tensor([[0.6, 0.8], [0.3, 0.4], [0.0, 0.0]]))
    clipped = ClippedStatistic(CLASS_STATISTICS["mean"](7, 0, 1.0), clip=0.5, typical_norm=5.0)
    assert clipped.features(10 * normal(20)).norm(dim=1).max() <= 0.5 + 1e-6
    ours, theirs = clipped.features(normal(4)).mean(0)[None], clipped.features(normal(4, seed=1)).mean(0)[None]
    torch.testing.assert_close(clipped.distance(ours, theirs), 100 * (ours - theirs).square().sum(1))
