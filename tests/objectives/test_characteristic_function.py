from __future__ import annotations

import pytest
import torch
from reference.characteristic_function import characteristic_function_distance as reference

from lightning_distill.objectives import characteristic_function_distance


def normal(rows: int, width: int = 7, seed: int = 0) -> torch.Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))


def test_equals_complex_numbers_in_plain_loops():
    real, synthetic, t = normal(9), normal(4, seed=1), 2 * normal(20, seed=2)
    expected = reference(real, synthetic, t)
    assert characteristic_function_distance(real, synthetic, t).item() == pytest.approx(expected, rel=1e-5)


def test_equal_weights_are_the_distance_of_complex_numbers():
    real, synthetic, t = (torch.nn.functional.normalize(normal(n, seed=n)) for n in (9, 4, 20))
    phi = [torch.polar(torch.ones(len(x), 20), x @ t.T).mean(0) for x in (real, synthetic)]
    expected = 300 * (phi[0] - phi[1]).abs().mean() / 2**0.5
    torch.testing.assert_close(characteristic_function_distance(real, synthetic, t), expected)


def test_zero_for_equal_samples_in_any_order_number_and_scale():
    real, t = normal(6), normal(50, seed=3)
    for other in (real.flip(0), real.repeat(2, 1), 3 * real):
        assert characteristic_function_distance(real, other, t).item() < 0.1  # the root of a rounding error, times 300


def test_sees_a_spread_that_means_do_not():
    a, b = torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), torch.tensor([[0.0, 1.0], [0.0, -1.0]])
    assert torch.equal(a.mean(0), b.mean(0))
    assert characteristic_function_distance(a, b).item() > 10


def test_gradient_is_finite_and_reaches_only_the_synthetic_images():
    for synthetic in (normal(3, seed=1), normal(5), torch.zeros(3, 7)):  # another sample, the same one, dead features
        real, synthetic = normal(5).requires_grad_(), synthetic.clone().requires_grad_()
        characteristic_function_distance(real, synthetic).backward()
        assert real.grad is None
        assert synthetic.grad.isfinite().all()


def test_gradient_equals_finite_differences_of_the_reference():
    real, synthetic, t = normal(5, 3), normal(2, 3, seed=1).double(), normal(6, 3, seed=2)
    moved = synthetic.float().requires_grad_()
    characteristic_function_distance(real, moved, t).backward()
    shift = torch.zeros_like(synthetic)
    shift[1, 2] = 1e-5
    expected = (reference(real, synthetic + shift, t) - reference(real, synthetic - shift, t)) / 2e-5
    assert moved.grad[1, 2].item() == pytest.approx(expected, rel=1e-3)


def test_random_frequencies_come_from_the_cpu_stream():
    values = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        values.append(characteristic_function_distance(normal(5), normal(3, seed=1)).item())
    assert values[0] == values[1] != values[2]
    assert values[0] == pytest.approx(values[2], rel=0.1)  # 1,024 frequencies are many


def test_autocast_changes_nothing():
    real, synthetic, t = normal(9), normal(4, seed=1), normal(20, seed=2)
    with torch.autocast("cpu", torch.bfloat16):
        cast = characteristic_function_distance(real, synthetic, t)
    assert torch.equal(cast, characteristic_function_distance(real, synthetic, t))
    assert characteristic_function_distance(real.bfloat16(), synthetic.bfloat16(), t).dtype == torch.float32
