from __future__ import annotations

import warnings
from functools import partial

import pytest
import torch

from lightning_distill import functional
from lightning_distill.functional import Stateless, compiler_found, count_flops, differentiate
from lightning_distill.networks import create_network

SMALL = partial(create_network, "convnet_w16", 1, 3, (8, 8))
compiles = pytest.mark.skipif(not compiler_found(), reason="no C++ compiler")


def images(rows: int) -> torch.Tensor:
    return torch.randn(rows, 1, 8, 8, generator=torch.Generator().manual_seed(rows))


def test_fresh_parameters_are_what_building_the_network_draws():
    torch.manual_seed(1)
    network = SMALL()
    torch.manual_seed(1)
    parameters = Stateless(SMALL).fresh()
    assert torch.equal(parameters["network.head.weight"], network.head.weight)
    stateless, x = Stateless(SMALL), images(4)
    torch.testing.assert_close(stateless(parameters, x), network(x))
    torch.testing.assert_close(stateless.embed(parameters, x), network.embed(x))


def test_building_leaves_the_random_stream_alone():
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    Stateless(SMALL)
    count_flops(SMALL, (1, 8, 8))
    assert torch.equal(torch.rand(3), expected)


def test_is_no_module_and_keeps_no_weights_of_its_own():
    stateless = Stateless(SMALL)
    assert not isinstance(stateless, torch.nn.Module)
    first, second = stateless.fresh(), stateless.fresh()
    x = images(2)
    assert not torch.equal(stateless(first, x), stateless(second, x))
    assert torch.equal(stateless(first, x), stateless(first, x))


def test_batch_norm_updates_the_given_buffers_only():
    stateless = Stateless(partial(create_network, "convnet_batch", 1, 3, (8, 8)))
    assert stateless.batch_norm
    parameters, other = stateless.fresh(), stateless.fresh()
    name = next(name for name in parameters if name.endswith("running_mean"))
    assert name not in stateless.weights
    before = other[name].clone()
    stateless(parameters, images(4))
    assert parameters[name].abs().sum() > 0
    assert torch.equal(other[name], before)


@compiles
@pytest.mark.parametrize("bf16", [False, True])
def test_compiled_equals_eager_for_any_batch_size_and_its_gradient(bf16):
    eager, compiled = Stateless(SMALL, compile="off"), Stateless(SMALL, compile="max", sizes=(5, 8))
    parameters = eager.fresh()
    tolerance = {"rtol": 0.1, "atol": 0.1} if bf16 else {"rtol": 1e-4, "atol": 1e-5}
    for rows in (3, 5, 7, 8):
        grads = []
        for network in (eager, compiled):
            x = images(rows).requires_grad_()
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                out = network.embed(parameters, x)
            assert out.shape[0] == rows
            grads.append((out.float(), *torch.autograd.grad(out.float().square().sum(), x)))
        for one, other in zip(*grads, strict=True):
            torch.testing.assert_close(one, other, **tolerance)


@compiles
def test_a_fresh_network_every_step_recompiles_nothing():
    network = Stateless(SMALL, compile="max", sizes=(4,))
    with torch.no_grad():
        network(network.fresh(), images(4))
        with torch._dynamo.config.patch(error_on_recompile=True):
            for rows in (4, 2, 3):
                network(network.fresh(), images(rows))
    assert network._compiled, "it fell back to eager"


def test_auto_compiles_long_runs_only_and_never_batch_norm():
    found = compiler_found()
    assert bool(Stateless(SMALL, flops=0)._compiled) is False
    assert bool(Stateless(SMALL, flops=1e15)._compiled) is found
    assert bool(Stateless(SMALL, flops=1e15, compile="off")._compiled) is False
    build = partial(create_network, "convnet_batch", 1, 3, (8, 8))
    assert bool(Stateless(build, compile="max")._compiled) is False


def test_no_compiler_means_eager(monkeypatch):
    monkeypatch.setattr(functional, "compiler_found", lambda: False)
    assert Stateless(SMALL, compile="max")._compiled == {}


def test_a_failing_compiler_warns_once_and_goes_on_eagerly():
    network = Stateless(SMALL, compile="max")

    def broken(parameters, x):
        raise torch._dynamo.exc.TorchDynamoException("no such instruction")

    network._compiled = {False: broken, True: broken}
    parameters, x = network.fresh(), images(2)
    with pytest.warns(UserWarning, match="no such instruction.*eagerly"):
        out = network(parameters, x)
    assert torch.equal(out, Stateless(SMALL)(parameters, x))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network(parameters, x)


def test_flops_of_the_reference_network():
    # convolutions of 3, 128, 128 channels at 32, 16, 8 px, then 2048 x 10, two operations a multiply-add
    expected = 2 * (27 * 128 * 1024 + 1152 * 128 * 256 + 1152 * 128 * 64 + 2048 * 10)
    assert count_flops(partial(create_network, "convnet", 3, 10, (32, 32)), (3, 32, 32)) == expected


def test_differentiate_sums_losses_and_keeps_one_graph_at_a_time():
    alive = []
    weight, unused = torch.ones(3, requires_grad=True), torch.ones(2, requires_grad=True)

    def losses():
        for scale in (1.0, 2.0):
            loss = (scale * weight**2).sum()
            alive.append(loss)
            yield loss
            with pytest.raises(RuntimeError, match="second time"):
                torch.autograd.grad(alive[-1], weight)

    total, gradients = differentiate(losses(), [weight, unused])
    assert total.item() == 9.0
    assert gradients[0].tolist() == [6.0, 6.0, 6.0]
    assert gradients[1].tolist() == [0.0, 0.0]
    assert weight.grad is None


def test_differentiate_of_nothing_is_zero():
    weight = torch.ones(3, requires_grad=True)
    total, gradients = differentiate([], [weight])
    assert total.item() == 0.0
    assert gradients[0].tolist() == [0.0] * 3
