from __future__ import annotations

import warnings
from functools import partial

import pytest
import torch
import torch.nn.functional as F

from lightning_distill import functional
from lightning_distill.functional import (
    Stateless,
    compiler_found,
    count_flops,
    descend,
    differentiate,
    loss_gradient,
)
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


def in_float64(parameters: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.double() for name, tensor in parameters.items()}


def batch(rows: int, soft: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Float64 images, and their labels or probabilities."""
    generator = torch.Generator().manual_seed(rows + 100)
    probabilities = torch.randn(rows, 3, generator=generator).double().softmax(1)
    return images(rows).double(), probabilities if soft else probabilities.argmax(1)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("twice", [False, True])
@pytest.mark.parametrize("chunk", [None, 1, 3, 7, 100])
def test_loss_gradient_is_that_of_the_plain_module_in_chunks_or_whole(chunk, twice, soft):
    torch.manual_seed(1)
    plain, (x, y) = SMALL().double(), batch(7, soft)  # 3 does not divide 7
    expected = torch.autograd.grad(F.cross_entropy(plain(x), y), list(plain.parameters()))
    torch.manual_seed(1)
    network = Stateless(SMALL)
    torch.manual_seed(1)
    ours = loss_gradient(network, in_float64(network.fresh()), x, y, twice=twice, chunk=chunk)
    assert len(ours) == len(expected)
    for a, b in zip(ours, expected, strict=True):
        torch.testing.assert_close(a.detach(), b, rtol=1e-9, atol=1e-12)
        assert a.requires_grad == twice


def test_loss_gradient_holds_a_chunk_at_a_time_unless_it_is_differentiated_again():
    network, sizes = Stateless(SMALL), []
    x, y = batch(7)

    def record(name):
        forward = getattr(network, name)
        return lambda parameters, rows: (sizes.append((name, len(rows))), forward(parameters, rows))[1]

    class Recorder:
        trainable, twice, __call__ = network.trainable, staticmethod(record("twice")), staticmethod(record("__call__"))

    loss_gradient(Recorder(), in_float64(network.fresh()), x, y, chunk=3)
    loss_gradient(Recorder(), in_float64(network.fresh()), x, y, chunk=3, twice=True)
    assert sizes == [(name, size) for name in ("__call__", "twice") for size in (3, 3, 1)]


@pytest.mark.parametrize("chunk", [None, 3])
def test_loss_gradient_can_be_differentiated_by_images_and_labels(chunk):
    network, (x, y) = Stateless(SMALL), batch(7, soft=True)
    parameters = in_float64(network.fresh())
    x, y = x.requires_grad_(), y.requires_grad_()

    def second(chunk: int | None) -> tuple[torch.Tensor, ...]:
        gradients = loss_gradient(network, parameters, x, y, twice=True, chunk=chunk)
        return torch.autograd.grad(sum(g.square().sum() for g in gradients), [x, y])

    for ours, whole in zip(second(chunk), second(None), strict=True):
        assert whole.abs().max() > 1e-6
        torch.testing.assert_close(ours, whole, rtol=1e-9, atol=1e-12)


def test_loss_gradient_leaves_buffers_out():
    network = Stateless(partial(create_network, "convnet_batch", 1, 3, (8, 8)))
    parameters, (x, y) = network.fresh(), batch(7)
    gradients = loss_gradient(network, parameters, x.float(), y)
    shapes = [tensor.shape for name, tensor in parameters.items() if name in network.weights]
    assert [gradient.shape for gradient in gradients] == shapes
    assert len(shapes) < len(parameters)


@compiles
def test_a_compiled_network_still_has_a_second_derivative():
    compiled, eager = Stateless(SMALL, compile="max", sizes=(7,)), Stateless(SMALL, compile="off")
    parameters, results = eager.fresh(), []
    for network in (compiled, eager):
        x, (_, y) = images(7).requires_grad_(), batch(7)
        gradients = loss_gradient(network, parameters, x, y, twice=True)
        results.append(torch.autograd.grad(sum(g.square().sum() for g in gradients), x)[0])
    assert compiled._compiled, "it is eager"
    assert results[0].abs().max() > 0
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("call", ["__call__", "embed", "twice"])
def test_a_weight_changed_inside_autocast_is_seen_by_the_next_forward(call):
    network = Stateless(SMALL)
    parameters, x = network.fresh(), images(4)
    network.trainable(parameters)  # autocast caches casts of weights that require gradients
    forward = partial(getattr(network, call), parameters, x)

    def change():
        with torch.no_grad():
            for name in sorted(network.weights):
                parameters[name].mul_(1.5)

    before = {name: tensor.detach().clone() for name, tensor in parameters.items()}
    expected = []
    for _ in range(2):
        with torch.autocast("cpu", torch.bfloat16):
            expected.append(forward())
        change()
    with torch.no_grad():
        for name, tensor in before.items():
            parameters[name].copy_(tensor)
    with torch.autocast("cpu", torch.bfloat16):
        first = forward()
        change()
        second = forward()
    assert first.dtype == torch.bfloat16
    assert torch.equal(first, expected[0])
    assert torch.equal(second, expected[1])
    assert not torch.equal(first, second)


def test_steps_inside_one_autocast_are_those_of_an_autocast_each():
    network, (x, y) = Stateless(SMALL), batch(7)
    start, ends = network.fresh(), []
    for together in (True, False):
        parameters = {name: tensor.clone() for name, tensor in start.items()}
        sgd = torch.optim.SGD(network.trainable(parameters), lr=0.5)
        with torch.autocast("cpu", torch.bfloat16, enabled=together):
            for _ in range(3):
                with torch.autocast("cpu", torch.bfloat16):
                    descend(network, parameters, sgd, x.float(), y)
        ends.append(parameters)
    for name in start:
        assert torch.equal(ends[0][name], ends[1][name]), name
    assert not torch.equal(ends[0]["network.head.weight"], start["network.head.weight"])


def test_descend_is_a_step_of_the_optimizer_on_the_plain_module():
    torch.manual_seed(1)
    plain, (x, y) = SMALL().double(), batch(7, soft=True)
    network = Stateless(SMALL)
    parameters = {f"network.{name}": tensor.detach().clone() for name, tensor in plain.named_parameters()}
    ours = torch.optim.SGD(network.trainable(parameters), lr=0.1, momentum=0.9)
    theirs = torch.optim.SGD(plain.parameters(), lr=0.1, momentum=0.9)
    for _ in range(3):  # momentum and gradients that are not zeroed would show
        descend(network, parameters, ours, x, y)
        theirs.zero_grad()
        F.cross_entropy(plain(x), y).backward()
        theirs.step()
    for name, tensor in plain.named_parameters():
        torch.testing.assert_close(parameters[f"network.{name}"], tensor.detach(), check_stride=False)
