"""Losses of the generators against independent ones, and their properties."""

from __future__ import annotations

import numpy as np
import torch
from reference import generator_losses as reference

from lightning_distill.objectives import (
    critic_loss,
    flow_point,
    generator_loss,
    gradient_penalty,
    logit_normal_times,
    rectified_flow_loss,
)


def numbers(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def test_flow_loss_is_that_of_the_paper():
    velocity, images, noise = (numbers(3, 2, 4, 4, seed=seed) for seed in range(3))
    expected = reference.flow_loss(velocity.numpy(), images.numpy(), noise.numpy())
    assert np.isclose(rectified_flow_loss(velocity, images, noise), expected, rtol=1e-5)
    assert rectified_flow_loss(noise - images, images, noise) == 0


def test_points_run_from_image_to_noise_at_constant_velocity():
    images, noise = numbers(2, 1, 3, 3), numbers(2, 1, 3, 3, seed=1)
    assert torch.equal(flow_point(images, noise, torch.zeros(2)), images)
    assert torch.equal(flow_point(images, noise, torch.ones(2)), noise)
    times = torch.tensor([0.25, 0.75], dtype=torch.float64)
    moved = (flow_point(images, noise, times + 1e-4) - flow_point(images, noise, times)) / 1e-4
    assert torch.allclose(moved, noise - images, atol=1e-6)


def test_times_are_the_sigmoid_of_normal_numbers():
    torch.manual_seed(0)
    times = logit_normal_times(20000)
    logits = torch.logit(times.double())
    assert times.min() > 0
    assert times.max() < 1
    assert abs(logits.mean()) < 0.03
    assert abs(logits.std() - 1) < 0.03


def test_relativistic_losses_are_those_of_the_paper():
    real, fake = numbers(6), numbers(6, seed=1)
    expected = reference.critic_loss(real.numpy(), fake.numpy())
    assert np.isclose(critic_loss(real, fake), expected)
    assert np.isclose(generator_loss(real, fake), reference.critic_loss(fake.numpy(), real.numpy()))
    assert np.isclose(critic_loss(real + 7, fake + 7), expected)  # pairs alone matter
    assert np.isclose(critic_loss(real, real), np.log(2))


def test_a_worse_fake_lowers_the_loss_of_the_critic_and_raises_that_of_the_generator():
    real, fake = numbers(6), numbers(6, seed=1)
    assert critic_loss(real, fake - 1) < critic_loss(real, fake)
    assert generator_loss(real, fake - 1) > generator_loss(real, fake)


def test_penalty_is_the_squared_gradient_and_can_be_differentiated():
    weight = numbers(9).requires_grad_()

    def critic(images):
        return torch.tanh(images.flatten(1) @ weight) + (images.flatten(1) ** 2 @ weight)

    images = numbers(4, 1, 3, 3, seed=1).requires_grad_()
    penalty = gradient_penalty(critic(images), images)

    def one(image):
        return float(critic(torch.from_numpy(image)[None]).detach())

    expected = reference.gradient_penalty(one, images.detach().numpy())
    assert np.isclose(float(penalty.detach()), expected, rtol=1e-4)
    (gradient,) = torch.autograd.grad(penalty, weight)
    moved = weight.detach().clone()
    moved[2] += 1e-2
    before, weight = float(penalty.detach()), moved.requires_grad_()
    after = float(gradient_penalty(critic(images), images).detach())
    assert np.isclose((after - before) / 1e-2, float(gradient[2]), rtol=5e-2)
