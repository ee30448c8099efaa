from __future__ import annotations

import pytest
import torch
from reference.class_means import relative_mean_distance as reference

from lightning_distill.objectives import class_means, relative_mean_distance

COUNTS = [2, 1, 4]


def rows(seed):
    return torch.randn(sum(COUNTS), 5, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_equals_the_reference():
    real, synthetic = rows(0), rows(1)
    expected = reference(*([part.tolist() for part in x.split(COUNTS)] for x in (real, synthetic)))
    means = class_means(synthetic, COUNTS)
    assert relative_mean_distance(class_means(real, COUNTS), means, means).item() == pytest.approx(expected)


def test_does_not_change_with_the_scale_of_the_features_and_adds_up_over_classes():
    real, means = class_means(rows(0), COUNTS), class_means(rows(1), COUNTS)
    whole = relative_mean_distance(real, means, means)
    torch.testing.assert_close(relative_mean_distance(1e3 * real, 1e3 * means, 1e3 * means), whole)
    parts = [relative_mean_distance(real[k], means[k], means) for k in ([0, 2], [1])]
    torch.testing.assert_close(sum(parts), whole)


def test_only_the_synthetic_means_have_a_gradient_and_the_scatter_has_none():
    real, synthetic = rows(0).requires_grad_(), rows(1).requires_grad_()
    means = class_means(synthetic, COUNTS)
    relative_mean_distance(class_means(real, COUNTS), means, means).backward()
    scatter = (means - means.mean(0)).square().sum().item()
    difference = (means - class_means(real, COUNTS)).detach()
    expected = torch.cat([(2 * d / n / scatter).expand(n, -1) for d, n in zip(difference, COUNTS, strict=True)])
    assert real.grad is None
    torch.testing.assert_close(synthetic.grad, expected)


@pytest.mark.parametrize("value", [0.0, 1.0, 2.0])
def test_equal_class_means_give_zero_and_no_nan(value):
    same = torch.ones(3, 4, requires_grad=True)
    distance = relative_mean_distance(torch.full((3, 4), value), same, same)
    distance.backward()
    assert distance.item() == 0
    assert same.grad.isfinite().all()
