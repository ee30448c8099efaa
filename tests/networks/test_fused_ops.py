"""Normalisation, ReLU and pooling as one operation against the three plain modules in float64."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lightning_distill.networks import ConvNet
from lightning_distill.networks.fused_ops import norm_relu_pool

EPS = 1e-5
SHAPES = [(3, 4, 8, 8), (1, 2, 2, 2), (2, 3, 6, 10), (5, 1, 4, 16)]


def plain(x, weight, bias):
    """The modules, and gradients of a weighted sum of what they give, all float64."""
    channels = len(weight)
    norm = nn.GroupNorm(channels, channels, eps=EPS).double()
    norm.load_state_dict({"weight": weight.double(), "bias": bias.double()})
    x = x.detach().double().requires_grad_()
    out = nn.AvgPool2d(2)(nn.ReLU()(norm(x)))
    return out, torch.autograd.grad((out * coefficients(out)).sum(), [x, norm.weight, norm.bias])


def coefficients(out):
    generator = torch.Generator().manual_seed(3)
    return torch.randn(out.shape, generator=generator, dtype=torch.float64)


def fused(x, weight, bias):
    inputs = [t.detach().clone().requires_grad_() for t in (x, weight, bias)]
    out = norm_relu_pool(*inputs, EPS)
    return out, torch.autograd.grad((out.double() * coefficients(out)).sum(), inputs)


def make_inputs(shape, dtype=torch.float32):
    generator = torch.Generator().manual_seed(1)
    x = (2 * torch.randn(shape, generator=generator) + 1).to(dtype)
    weight, bias = (torch.randn(shape[1], generator=generator) for _ in range(2))
    return x, weight, bias


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_value_and_gradients_are_those_of_the_modules(shape, dtype):
    x, weight, bias = make_inputs(shape, dtype)
    (ours, gradients), (right, right_gradients) = fused(x, weight, bias), plain(x, weight, bias)
    assert ours.dtype == dtype
    assert gradients[0].dtype == dtype
    tolerance = 2e-2 if dtype == torch.bfloat16 else 1e-4
    for a, b in zip((ours, *gradients), (right, *right_gradients), strict=True):
        assert a.shape == b.shape
        torch.testing.assert_close(a.double(), b, rtol=tolerance, atol=tolerance * b.abs().max().item())


def test_gradients_are_difference_quotients():
    x, weight, bias = (t.double() for t in make_inputs((2, 3, 4, 6)))
    _, gradients = fused(x, weight, bias)
    for i, gradient in enumerate(gradients):
        direction = torch.randn(gradient.shape, generator=torch.Generator().manual_seed(i), dtype=torch.float64)

        def at(distance, i=i, direction=direction):
            moved = [t + distance * direction if k == i else t for k, t in enumerate((x, weight, bias))]
            out, _ = plain(*moved)
            return (out * coefficients(out)).sum().item()

        quotient = (at(1e-6) - at(-1e-6)) / 2e-6
        assert (gradient * direction).sum().item() == pytest.approx(quotient, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("level", [0.0, 1.0, -7.3, 1e4])
@pytest.mark.parametrize("shift", [-0.5, 0.0, 0.5])
def test_images_without_variance_have_finite_gradients(level, shift):
    x, weight, bias = torch.full((2, 3, 4, 4), level), torch.ones(3), torch.full((3,), shift)
    (out, by_ours), (expected, by_theirs) = fused(x, weight, bias), plain(x, weight, bias)
    torch.testing.assert_close(out.double(), expected, rtol=1e-4, atol=1e-3)
    for a, b in zip(by_ours, by_theirs, strict=True):
        assert a.isfinite().all()
        torch.testing.assert_close(a.double(), b, rtol=1e-3, atol=1e-2)


def test_only_what_is_asked_for_needs_a_gradient():
    x, weight, bias = make_inputs((2, 3, 4, 4))
    assert not norm_relu_pool(x, weight, bias, EPS).requires_grad
    out = norm_relu_pool(x.requires_grad_(), weight, bias, EPS)
    torch.testing.assert_close(torch.autograd.grad(out.square().sum(), x)[0], fused_by(x, weight, bias))


def fused_by(x, weight, bias):
    inputs = [t.detach().clone().requires_grad_() for t in (x, weight, bias)]
    return torch.autograd.grad(norm_relu_pool(*inputs, EPS).square().sum(), inputs)[0]


@pytest.mark.parametrize(
    ("size", "options", "fusible"),
    [
        ((32, 32), {}, True),
        ((28, 28), {}, True),
        ((12, 20), {}, False),
        ((12, 20), {"depth": 2}, True),
        ((28, 20), {}, False),
        ((32, 32), {"norm": "group"}, False),
        ((32, 32), {"activation": "leaky"}, False),
        ((32, 32), {"pool": "max"}, False),
        ((32, 32), {"pool": "none"}, False),
    ],
)
def test_a_convnet_takes_single_operations_where_it_can_and_gives_the_same(size, options, fusible):
    torch.manual_seed(0)
    network, x = ConvNet(2, 3, size, width=8, **options), torch.randn(2, 2, *size, requires_grad=True)
    assert network.fusible is fusible
    results = []
    for network.fused in (False, True):
        out = network(x)
        results.append([out, *torch.autograd.grad(out.square().sum(), [x, *network.parameters()])])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-3, atol=1e-4 * max(1.0, one.abs().max().item()))


def test_a_convnet_is_whole_unless_asked():
    assert ConvNet.fused is False
    x = torch.randn(2, 1, 8, 8, requires_grad=True)
    network = ConvNet(1, 3, (8, 8), width=8)
    (by_x,) = torch.autograd.grad(network(x).square().sum(), x, create_graph=True)
    assert torch.autograd.grad(by_x.square().sum(), x)[0].abs().max() > 0
