from __future__ import annotations

import pytest
import torch
from reference.distribution_matching import mean_embedding_distance as reference

from lightning_distill.objectives import mean_embedding_distance


def features(rows: int, width: int = 7, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


def test_equals_plain_loops():
    real, synthetic = features(9), features(4, seed=1)
    assert mean_embedding_distance(real, synthetic).item() == pytest.approx(reference(real, synthetic), rel=1e-5)


def test_zero_at_equal_means_in_any_order_and_number():
    real = features(6)
    assert mean_embedding_distance(real, real.flip(0)).item() == pytest.approx(0, abs=1e-10)
    assert mean_embedding_distance(real, real.repeat(2, 1)).item() == pytest.approx(0, abs=1e-10)


def test_is_a_sum_over_features():
    real, synthetic = features(5, 3), features(2, 3, seed=1)
    twice = mean_embedding_distance(real.repeat(1, 2), synthetic.repeat(1, 2))
    assert twice.item() == pytest.approx(2 * mean_embedding_distance(real, synthetic).item(), rel=1e-5)


def test_gradient_is_the_derivative_and_reaches_only_the_synthetic_images():
    real, synthetic = features(5).requires_grad_(), features(3, seed=1).requires_grad_()
    mean_embedding_distance(real, synthetic).backward()
    assert real.grad is None
    # d/ds_m = -2/M (mean real - mean synthetic), the same for every m
    expected = -2 / 3 * (real.mean(0) - synthetic.mean(0)).detach()
    torch.testing.assert_close(synthetic.grad, expected.expand(3, -1))


def test_reduces_in_float32_when_embeddings_are_bf16():
    loss = mean_embedding_distance(features(512, 64).bfloat16(), features(8, 64, seed=1).bfloat16())
    assert loss.dtype == torch.float32
    exact = reference(features(512, 64).bfloat16().double(), features(8, 64, seed=1).bfloat16().double())
    assert loss.item() == pytest.approx(exact, rel=1e-4)
