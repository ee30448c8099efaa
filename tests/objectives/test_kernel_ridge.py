from __future__ import annotations

import numpy as np
import pytest
import torch
from reference.kernel_ridge import kernel_ridge_loss as reference
from sklearn.kernel_ridge import KernelRidge

from lightning_distill.objectives import ridge_loss, ridge_weights


def problem(real=9, synthetic=4, features=6, targets=3, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(real, features), (synthetic, features), (real, targets), (synthetic, targets)]
    return [torch.randn(*shape, generator=generator, dtype=dtype) for shape in shapes]


def loss_of(real, synthetic, real_targets, targets, ridge=1e-2):
    weights, _ = ridge_weights(synthetic, targets, ridge)
    return ridge_loss(weights, real, real_targets) / len(real)


@pytest.mark.parametrize("ridge", [1e-6, 1e-2, 1.0])
@pytest.mark.parametrize(("synthetic", "features"), [(4, 6), (6, 4), (1, 3)])
def test_equals_plain_loops(synthetic, features, ridge):
    real, s, y_real, y_s = problem(synthetic=synthetic, features=features)
    expected = reference(real, s, y_real, y_s, ridge)
    assert loss_of(real, s, y_real, y_s, ridge).item() == pytest.approx(expected, rel=1e-8)


def test_equals_kernel_ridge_of_scikit_learn():
    real, s, y_real, y_s = problem(real=20, synthetic=7, features=12)
    strength = 0.05 * s.square().sum(1).mean().item()
    model = KernelRidge(alpha=strength, kernel="linear").fit(s.numpy(), y_s.numpy())
    weights, used = ridge_weights(s, y_s, 0.05)
    assert used == 0.05
    np.testing.assert_allclose((real @ weights).numpy(), model.predict(real.numpy()), rtol=1e-9)
    expected = np.square(model.predict(real.numpy()) - y_real.numpy()).sum()
    assert ridge_loss(weights, real, y_real).item() == pytest.approx(expected)


def test_equals_the_primal_closed_form():
    _, s, _, y_s = problem(synthetic=5, features=3)
    strength = 0.1 * s.square().sum(1).mean()
    expected = torch.linalg.solve(s.T @ s + strength * torch.eye(3, dtype=s.dtype), s.T @ y_s)
    torch.testing.assert_close(ridge_weights(s, y_s, 0.1)[0], expected)


def test_gradients_by_images_and_labels_are_the_derivatives():
    real, s, y_real, y_s = problem()
    inputs = s.requires_grad_(), y_s.requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: loss_of(real, a, y_real, b), inputs)


def test_real_features_are_not_differentiated():
    real, s, y_real, y_s = problem()
    loss_of(real.requires_grad_(), s.requires_grad_(), y_real, y_s).backward()
    assert real.grad is None
    assert s.grad is not None


def test_scale_of_features_has_no_effect():
    real, s, y_real, y_s = problem()
    assert loss_of(1e3 * real, 1e3 * s, y_real, y_s).item() == pytest.approx(loss_of(real, s, y_real, y_s).item())


def test_synthetic_images_equal_to_the_real_ones_are_predicted():
    real, _, y_real, _ = problem(real=4)
    assert loss_of(real, real, y_real, y_real, 1e-9).item() < 1e-12


def test_is_solved_in_float64_under_autocast():
    real, s, y_real, y_s = problem(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        inside = loss_of(real, s, y_real, y_s)
    assert inside.dtype == torch.float64
    assert inside.item() == pytest.approx(reference(real, s, y_real, y_s, 1e-2), rel=1e-6)


@pytest.mark.parametrize("synthetic", [torch.ones(3, 4), torch.eye(3, 4)[[0, 0, 1]], torch.randn(6, 2)])
def test_a_singular_kernel_is_solved_with_a_larger_ridge(synthetic):
    targets = torch.randn(len(synthetic), 2, generator=torch.Generator().manual_seed(0))
    weights, ridge = ridge_weights(synthetic, targets, 0.0)
    assert 0 < ridge < 1e-4
    assert weights.isfinite().all()
    assert weights.abs().max() < 1e6
    assert ridge_weights(synthetic, targets, 1e-3)[1] == 1e-3


def test_features_of_zero_predict_zero():
    weights, _ = ridge_weights(torch.zeros(3, 4), torch.ones(3, 2), 1e-3)
    assert torch.equal(weights, torch.zeros_like(weights))


def test_nan_is_returned_and_does_not_raise_the_ridge_forever():
    weights, ridge = ridge_weights(torch.full((3, 4), float("nan")), torch.ones(3, 2), 1e-3)
    assert ridge == 1e-3
    assert weights.isnan().any()
