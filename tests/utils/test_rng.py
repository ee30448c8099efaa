from __future__ import annotations

import pytest
import torch

from lightning_distill.utils.rng import derive_seed, isolated_rng


def test_seeds_are_stable_and_differ_by_every_part():
    assert derive_seed(0, 1, "a") == 4943607573689233201  # the same on every machine
    seeds = {derive_seed(seed, step, label) for seed in range(3) for step in range(20) for label in range(5)}
    assert len(seeds) == 300


def fail_in_the_sandbox():
    with isolated_rng(7):
        torch.rand(9)
        raise RuntimeError("inside")


def test_random_stream_outside_is_untouched_also_on_errors():
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    with pytest.raises(RuntimeError, match="inside"):
        fail_in_the_sandbox()
    assert torch.equal(torch.rand(4), expected)


def test_equal_seeds_give_equal_draws():
    with isolated_rng(5):
        first = torch.rand(3)
    with isolated_rng(5):
        assert torch.equal(torch.rand(3), first)
    with isolated_rng(6):
        assert not torch.equal(torch.rand(3), first)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_gradients_flow_inside_lightnings_validation_modes(mode):
    weight = torch.ones(2)
    with mode():
        with isolated_rng(0):
            inside = weight.clone().requires_grad_()
            (inside * 3).sum().backward()
        assert inside.grad.tolist() == [3.0, 3.0]
        assert not torch.is_grad_enabled()
        assert torch.is_inference_mode_enabled() == (mode is torch.inference_mode)
