"""Gradients of a network's loss in pieces, and once more differentiated, against the plain module's."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.nn.functional as F

from lightning_distill.functional.compile import compiler_available
from lightning_distill.functional.gradients import accumulate_gradients, loss_gradient, mixed_derivative, optimizer_step
from lightning_distill.functional.network import FunctionalNetwork
from lightning_distill.networks import create_network

SMALL = partial(create_network, "convnet_w16", 1, 3, (8, 8))
compiles = pytest.mark.skipif(not compiler_available(), reason="no C++ compiler")


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

    total, gradients = accumulate_gradients(losses(), [weight, unused])
    assert total.item() == 9.0
    assert gradients[0].tolist() == [6.0, 6.0, 6.0]
    assert gradients[1].tolist() == [0.0, 0.0]
    assert weight.grad is None


def test_differentiate_of_nothing_is_zero():
    weight = torch.ones(3, requires_grad=True)
    total, gradients = accumulate_gradients([], [weight])
    assert total.item() == 0.0
    assert gradients[0].tolist() == [0.0] * 3


def in_float64(parameters: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: tensor.double() for name, tensor in parameters.items()}


def batch(rows: int, soft: bool = False, shape: tuple[int, ...] = (1, 8, 8)) -> tuple[torch.Tensor, torch.Tensor]:
    """Float64 images, and their labels or probabilities."""
    generator = torch.Generator().manual_seed(rows + 100)
    probabilities = torch.randn(rows, 3, generator=generator).double().softmax(1)
    images = torch.randn(rows, *shape, generator=generator).double()
    return images, probabilities if soft else probabilities.argmax(1)


def pair(build=SMALL, **options):
    """A plain module and a network with its parameters, float64."""
    torch.manual_seed(1)
    plain = build().double()
    torch.manual_seed(1)
    network = FunctionalNetwork(build, **options)
    torch.manual_seed(1)
    return plain, network, in_float64(network.init_params())


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("chunk", [None, 1, 3, 7, 100])
def test_loss_gradient_is_that_of_the_plain_module_in_chunks_or_whole(chunk, soft):
    plain, network, parameters = pair(chunk=chunk)
    x, y = batch(7, soft)  # 3 does not divide 7
    expected = torch.autograd.grad(F.cross_entropy(plain(x), y), list(plain.parameters()))
    ours = loss_gradient(network, parameters, x, y)
    assert len(ours) == len(expected)
    for a, b in zip(ours, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
        assert not a.requires_grad


def sizes_seen(monkeypatch, name: str) -> list[int]:
    seen, original = [], getattr(FunctionalNetwork, name)
    place = 2 if name == "directional_derivative" else 1
    monkeypatch.setattr(
        FunctionalNetwork, name, lambda self, *given: seen.append(len(given[place])) or original(self, *given)
    )
    return seen


def test_gradients_hold_a_chunk_at_a_time(monkeypatch):
    _, network, parameters = pair(chunk=3)
    x, y = batch(7)
    first, second = sizes_seen(monkeypatch, "__call__"), sizes_seen(monkeypatch, "directional_derivative")
    loss_gradient(network, parameters, x, y)
    mixed_derivative(network, parameters, x, y, some_directions(network.require_grad(parameters)))
    assert first == second == [3, 3, 1]


def test_loss_gradient_leaves_buffers_out():
    network = FunctionalNetwork(partial(create_network, "convnet_batch", 1, 3, (8, 8)))
    parameters, (x, y) = network.init_params(), batch(7)
    gradients = loss_gradient(network, parameters, x.float(), y)
    shapes = [tensor.shape for name, tensor in parameters.items() if name in network.weight_names]
    assert [gradient.shape for gradient in gradients] == shapes
    assert len(shapes) < len(parameters)


def some_directions(weights) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(w.shape, generator=generator).to(w.dtype) for w in weights]


def twice(plain, x, y, directions) -> list[torch.Tensor]:
    """By weights, images and probabilities, of how the loss of a plain module changes along the directions."""
    inputs = [t.clone().requires_grad_() for t in ((x, y) if y.is_floating_point() else (x,))]
    loss = F.cross_entropy(plain(inputs[0]), inputs[1] if len(inputs) > 1 else y)
    weights = list(plain.parameters())
    gradients = torch.autograd.grad(loss, weights, create_graph=True)
    product = sum((v * g).sum() for v, g in zip(directions, gradients, strict=True))
    return list(torch.autograd.grad(product, [*weights, *inputs]))


def flat(nested) -> list[torch.Tensor]:
    """What `mixed_derivative` found, in the order of `twice`."""
    by_weights, by_images, by_probabilities = nested
    return [*by_weights, by_images, *([] if by_probabilities is None else [by_probabilities])]


@pytest.mark.parametrize("name", ["convnet_w16", "lenet", "convnet_batch"])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("chunk", [None, 1, 3, 7])
def test_mixed_derivative_is_two_backwards_of_the_plain_module(chunk, soft, name):
    plain, network, parameters = pair(partial(create_network, name, 1, 3, (8, 8)), chunk=chunk)
    plain.eval()
    network.train(False)
    x, y = batch(7, soft)
    directions = some_directions(plain.parameters())
    expected = twice(plain, x, y, directions)
    result = mixed_derivative(network, parameters, x, y, directions)
    assert (result[2] is None) is not soft
    ours = flat(result)
    assert len(ours) == len(expected)
    for a, b in zip(ours, expected, strict=True):
        assert a.shape == b.shape
        assert not a.requires_grad
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
    assert expected[-1].abs().max() > 1e-6
    assert not x.requires_grad
    assert not y.requires_grad


def both(network, parameters, x, y, directions) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """First derivatives by the weights, second ones by everything."""
    first = loss_gradient(network, parameters, x, y)
    return first, flat(mixed_derivative(network, parameters, x, y, directions))


def close(ours, exact) -> None:
    """As close as float32 is: a bias before an instance norm has a zero gradient, beside rounding of its neighbours."""
    for result, right in zip(ours, exact, strict=True):
        largest = max(g.abs().max().item() for g in right)
        for a, b in zip(result, right, strict=True):
            assert a.dtype == torch.float32
            torch.testing.assert_close(a.double(), b, rtol=1e-3, atol=1e-5 * largest)


@compiles
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize(
    ("name", "shape"),
    [("convnet_w16", (1, 8, 8)), ("convnet_w16", (2, 12, 20)), ("lenet", (1, 8, 8)), ("mlp", (1, 8, 8))],
)
def test_compiled_derivatives_are_the_eager_ones_and_padding_counts_nothing(name, shape, soft):
    build = partial(create_network, name, shape[0], 3, shape[1:])
    eager, compiled = FunctionalNetwork(build, compile="off"), FunctionalNetwork(build, compile="max", sizes=(8,))
    torch.manual_seed(1)
    parameters, batch64 = eager.init_params(), batch(5, soft, shape)
    directions = some_directions(eager.require_grad(parameters))
    exact = both(eager, in_float64(parameters), *batch64, [v.double() for v in directions])
    batch32 = batch64[0].float(), batch64[1].float() if soft else batch64[1]
    for network in (eager, compiled):
        close(both(network, parameters, *batch32, directions), exact)
    assert compiled.compiled, "it fell back to eager"
    assert exact[1][-1 - soft].abs().max() > 1e-4


@compiles
def test_compiled_derivatives_in_chunks_are_those_of_the_whole():
    whole, cut = FunctionalNetwork(SMALL), FunctionalNetwork(SMALL, compile="max", sizes=(7,), chunk=3)
    torch.manual_seed(1)
    parameters, (x, y) = whole.init_params(), batch(7, soft=True)
    directions = some_directions(whole.require_grad(parameters))
    exact = both(whole, in_float64(parameters), x, y, [v.double() for v in directions])
    close(both(cut, parameters, x.float(), y.float(), directions), exact)
    assert cut.compiled, "it fell back to eager"


@compiles
@pytest.mark.parametrize("name", ["convnet_w16", "lenet"])
def test_compiled_derivatives_in_bf16_point_the_way_of_float32(name):
    build = partial(create_network, name, 1, 3, (8, 8))
    eager, compiled = FunctionalNetwork(build), FunctionalNetwork(build, compile="max", sizes=(8,))
    torch.manual_seed(1)
    parameters, (x, y) = eager.init_params(), batch(5)
    directions = some_directions(eager.require_grad(parameters))
    exact, rounded = [], []
    for network, out, bf16 in ((eager, exact, False), (compiled, rounded, True)):
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            out.append(torch.cat([g.flatten() for g in loss_gradient(network, parameters, x.float(), y)]))
            by_weights, by_images, _ = mixed_derivative(network, parameters, x.float(), y, directions)
        out += [torch.cat([g.flatten() for g in by_weights]), by_images.flatten()]
    assert compiled.compiled, "it fell back to eager"
    for a, b in zip(exact, rounded, strict=True):
        assert b.dtype == torch.float32
        assert F.cosine_similarity(a, b, dim=0) > 0.99
        assert b.norm() == pytest.approx(a.norm().item(), rel=0.1)


def test_steps_inside_one_autocast_are_those_of_an_autocast_each():
    network, (x, y) = FunctionalNetwork(SMALL), batch(7)
    start, ends = network.init_params(), []
    for together in (True, False):
        parameters = {name: tensor.clone() for name, tensor in start.items()}
        sgd = torch.optim.SGD(network.require_grad(parameters), lr=0.5)
        with torch.autocast("cpu", torch.bfloat16, enabled=together):
            for _ in range(3):
                with torch.autocast("cpu", torch.bfloat16):
                    optimizer_step(network, parameters, sgd, x.float(), y)
        ends.append(parameters)
    for name in start:
        assert torch.equal(ends[0][name], ends[1][name]), name
    assert not torch.equal(ends[0]["network.head.weight"], start["network.head.weight"])


def test_descend_is_a_step_of_the_optimizer_on_the_plain_module():
    torch.manual_seed(1)
    plain, (x, y) = SMALL().double(), batch(7, soft=True)
    network = FunctionalNetwork(SMALL)
    parameters = {f"network.{name}": tensor.detach().clone() for name, tensor in plain.named_parameters()}
    ours = torch.optim.SGD(network.require_grad(parameters), lr=0.1, momentum=0.9)
    reference = torch.optim.SGD(plain.parameters(), lr=0.1, momentum=0.9)
    for _ in range(3):  # momentum and gradients that are not zeroed would show
        optimizer_step(network, parameters, ours, x, y)
        reference.zero_grad()
        F.cross_entropy(plain(x), y).backward()
        reference.step()
    for name, tensor in plain.named_parameters():
        torch.testing.assert_close(parameters[f"network.{name}"], tensor.detach(), check_stride=False)
