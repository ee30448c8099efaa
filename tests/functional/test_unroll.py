"""Gradients through steps of SGD: exact, and with one step's graph alive at a time."""

from __future__ import annotations

import weakref
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call

from lightning_distill.functional.gradients import loss_gradient, mixed_derivative
from lightning_distill.functional.network import FunctionalNetwork
from lightning_distill.functional.unroll import (
    InnerProblem,
    scalar_with_gradient,
    unroll_constant_memory,
    unroll_stored,
)
from lightning_distill.networks import create_network

BUILD = partial(create_network, "convnet_w16", 1, 3, (8, 8))
MEMORY = {"unrolled": False, "constant": True}


class Problem(InnerProblem):
    """A small network, trained for a few steps on another batch of images with soft labels each; all float64."""

    def __init__(self, steps: int, lr: float = 0.3, per_step: int = 4, chunk: int | None = None) -> None:
        torch.manual_seed(7)
        self.steps, self.network = steps, FunctionalNetwork(BUILD, chunk=chunk)
        parameters = {name: tensor.double() for name, tensor in self.network.init_params().items()}
        self.names, self.start = list(parameters), list(parameters.values())
        self.images = torch.randn(steps, per_step, 1, 8, 8).double().requires_grad_()
        self.logits = torch.randn(steps, per_step, 3).double().requires_grad_()
        self.lr = torch.tensor(lr, dtype=torch.float64, requires_grad=True)
        self.real, self.truth = torch.randn(6, 1, 8, 8).double(), torch.arange(6) % 3
        super().__init__([self.images, self.logits])

    def loss(self, t, weights):
        out = self.network.eager(dict(zip(self.names, weights, strict=True)), self.images[t])
        return F.cross_entropy(out, self.logits[t].softmax(1))

    def outer(self, weights):
        return F.cross_entropy(self.network(dict(zip(self.names, weights, strict=True)), self.real), self.truth)

    def value(self, constant: bool) -> torch.Tensor:
        return (unroll_constant_memory if constant else unroll_stored)(
            self, self.outer, self.start, self.lr, self.steps
        )

    def value_and_gradients(self, constant: bool) -> list[torch.Tensor]:
        value = self.value(constant)
        return [value.detach(), *torch.autograd.grad(value, [self.lr, *self.inputs])]


class InPieces(Problem):
    """The same, whose derivatives come from networks cut into chunks."""

    def gradient(self, t, weights):
        with torch.no_grad():
            targets = self.logits[t].softmax(1)
        return loss_gradient(self.network, dict(zip(self.names, weights, strict=True)), self.images[t], targets)

    def mixed(self, t, weights, directions):
        x, y = self.images[t], self.logits[t].softmax(1)
        parameters = dict(zip(self.names, weights, strict=True))
        by_weights, by_x, by_y = mixed_derivative(self.network, parameters, x, y, directions)
        return by_weights, torch.autograd.grad([x, y], self.inputs, [by_x, by_y])


def error(a: torch.Tensor, b: torch.Tensor) -> float:
    """Largest difference over the largest number."""
    return ((a - b).abs().max() / b.abs().max()).item()


@pytest.mark.parametrize(("kind", "chunk"), [(Problem, None), (InPieces, None), (InPieces, 3)])
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_constant_memory_equals_unrolled(steps, kind, chunk):
    problem = kind(steps, chunk=chunk)
    exact, ours = problem.value_and_gradients(False), problem.value_and_gradients(True)
    assert error(ours[0], exact[0]) < (1e-15 if kind is Problem else 1e-12)  # to the last digit but one
    for a, b in zip(ours[1:], exact[1:], strict=True):
        assert b.abs().max() > 1e-4
        assert error(a, b) < 1e-10
    for t in range(steps):  # the first step's images as well as the last one's
        assert error(ours[2][t], exact[2][t]) < 1e-9
        assert error(ours[3][t], exact[3][t]) < 1e-9


@pytest.mark.parametrize("constant", MEMORY.values(), ids=MEMORY)
def test_equals_nested_torch_func_on_the_plain_module(constant):
    problem, module = Problem(3), BUILD().double()
    start = {name.removeprefix("network."): w for name, w in zip(problem.names, problem.start, strict=True)}

    def trained(lr, images, logits):
        weights = start
        for x, z in zip(images, logits, strict=True):

            def loss(w, x=x, z=z):
                return -(z.softmax(1) * functional_call(module, w, (x,)).log_softmax(1)).sum(1).mean()

            by = torch.func.grad(loss)(weights)
            weights = {name: w - lr * by[name] for name, w in weights.items()}
        return F.cross_entropy(functional_call(module, weights, (problem.real,)), problem.truth)

    inputs = [x.detach() for x in (problem.lr, *problem.inputs)]
    gradients, value = torch.func.grad_and_value(trained, argnums=(0, 1, 2))(*inputs)
    for ours, right in zip(problem.value_and_gradients(constant), (value, *gradients), strict=True):
        assert error(ours, right) < 1e-9


def test_equals_torch_sgd_on_the_plain_module():
    problem, module = Problem(3), BUILD().double()
    module.load_state_dict({n.removeprefix("network."): w for n, w in zip(problem.names, problem.start, strict=True)})
    optimizer = torch.optim.SGD(module.parameters(), lr=problem.lr.item())
    for t in range(3):
        optimizer.zero_grad()
        F.cross_entropy(module(problem.images[t].detach()), problem.logits[t].detach().softmax(1)).backward()
        optimizer.step()
    expected = F.cross_entropy(module(problem.real), problem.truth)
    for constant in MEMORY.values():
        torch.testing.assert_close(problem.value(constant), expected)


@pytest.mark.parametrize("constant", MEMORY.values(), ids=MEMORY)
@pytest.mark.parametrize("of", ["lr", "images", "logits"])
def test_gradients_are_difference_quotients(of, constant):
    problem = Problem(3)
    by = dict(zip(("lr", "images", "logits"), problem.value_and_gradients(constant)[1:], strict=True))[of]
    tensor, step = getattr(problem, of), 1e-6
    direction = torch.randn(tensor.shape).double()
    direction = direction / direction.norm()

    def at(distance: float) -> float:
        setattr(problem, of, (tensor + distance * direction).detach())
        with torch.enable_grad():
            value = problem.value(False)
        return value.item()

    quotient = (at(step) - at(-step)) / (2 * step)
    assert abs(quotient) > 1e-4
    assert (by * direction).sum().item() == pytest.approx(quotient, rel=1e-5)


def by_images_without_correction(problem: Problem) -> torch.Tensor:
    """TESLA's form: every step sees the gradient of the last weights."""
    weights, path = [w.detach() for w in problem.start], []
    for t in range(problem.steps):
        path.append([w.requires_grad_() for w in weights])
        gradients = torch.autograd.grad(problem.loss(t, path[-1]), path[-1])
        weights = [(w - problem.lr * g).detach() for w, g in zip(path[-1], gradients, strict=True)]
    last = [w.requires_grad_() for w in weights]
    adjoint = torch.autograd.grad(problem.outer(last), last)
    total = torch.zeros_like(problem.images)
    for t in range(problem.steps):
        gradients = torch.autograd.grad(problem.loss(t, path[t]), path[t], create_graph=True)
        product = sum((a * g).sum() for a, g in zip(adjoint, gradients, strict=True))
        total -= problem.lr.detach() * torch.autograd.grad(product, problem.images)[0]
    return total


def test_the_correction_of_the_adjoint_matters_from_two_steps_on():
    one, several = Problem(1), Problem(5)
    assert error(by_images_without_correction(one), one.value_and_gradients(True)[2]) < 1e-10
    without, ours = by_images_without_correction(several), several.value_and_gradients(True)[2]
    assert error(without[-1], ours[-1]) < 1e-10  # the last step's images have no later step to act through
    assert error(without[0], ours[0]) > 0.05


class Noted(InnerProblem):
    """Notes what is asked for and passes it on."""

    def __init__(self, inner: InnerProblem) -> None:
        super().__init__(inner.inputs)
        self.inner, self.called = inner, []

    def loss(self, t, weights):
        self.called.append(("loss", t))
        return self.inner.loss(t, weights)

    def gradient(self, t, weights):
        self.called.append(("gradient", t))
        return self.inner.gradient(t, weights)

    def mixed(self, t, weights, directions):
        self.called.append(("mixed", t))
        return self.inner.mixed(t, weights, directions)


@pytest.mark.parametrize("constant", MEMORY.values(), ids=MEMORY)
def test_steps_are_called_in_order_and_again_from_the_last(constant):
    problem = Problem(4)
    noted = Noted(problem)
    (unroll_constant_memory if constant else unroll_stored)(noted, problem.outer, problem.start, problem.lr, 4)
    forth = [("gradient" if constant else "loss", t) for t in range(4)]
    back = [("mixed", t) for t in (3, 2, 1, 0)] if constant else []
    assert noted.called == forth + back


def test_a_gradient_has_no_graph():
    problem = Problem(1)
    weights = [w.detach().requires_grad_() for w in problem.start]
    assert not any(g.requires_grad for g in problem.gradient(0, weights))


def test_an_inner_loss_has_to_say_what_it_is():
    with pytest.raises(TypeError, match="abstract"):
        InnerProblem([])


@pytest.mark.parametrize("constant", MEMORY.values(), ids=MEMORY)
def test_the_start_is_left_alone(constant):
    problem = Problem(2)
    before = [w.clone() for w in problem.start]
    problem.value(constant).backward()
    for w, old in zip(problem.start, before, strict=True):
        assert torch.equal(w, old)
        assert not w.requires_grad
        assert w.grad is None


@pytest.mark.parametrize("constant", MEMORY.values(), ids=MEMORY)
def test_no_steps_are_the_outer_loss_at_the_start(constant):
    problem = Problem(0)
    value = problem.value(constant)
    torch.testing.assert_close(value, problem.outer(problem.start))
    if constant:
        assert torch.autograd.grad(value, problem.lr)[0] == 0


def test_an_input_no_step_uses_gets_a_zero_gradient():
    problem, idle = Problem(2), torch.ones(3, dtype=torch.float64, requires_grad=True)
    alone = problem.value_and_gradients(True)
    problem.inputs = [idle, *problem.inputs]
    by_idle, *others = torch.autograd.grad(problem.value(True), problem.inputs)
    assert by_idle.tolist() == [0.0] * 3
    for a, b in zip(others, alone[2:], strict=True):
        assert torch.equal(a, b)


def test_an_input_some_steps_use_gets_their_gradient():
    start, lr = [torch.tensor([1.0, -2.0], dtype=torch.float64)], torch.tensor(0.1, dtype=torch.float64)
    inputs = [torch.tensor([3.0, 4.0], dtype=torch.float64, requires_grad=True) for _ in range(2)]
    lr.requires_grad_()

    class Squares(InnerProblem):
        def loss(self, t, weights):
            return (weights[0] * self.inputs[t]).square().sum()

    def outer(weights):
        return weights[0].sum()

    # w2 = w0 (1 - 2 lr x0^2) (1 - 2 lr x1^2), element by element
    value = unroll_constant_memory(Squares(inputs), outer, start, lr, 2)
    (first, second), w, x = (1 - 0.2 * i.detach() ** 2 for i in inputs), start[0], inputs[0].detach()
    torch.testing.assert_close(value.detach(), (w * first * second).sum())
    by_lr, by_first, by_second = torch.autograd.grad(value, [lr, *inputs])
    torch.testing.assert_close(by_first, -0.4 * x * w * second)
    torch.testing.assert_close(by_second, -0.4 * x * w * first)
    torch.testing.assert_close(by_lr, (-2 * x**2 * w * (first + second)).sum())


def test_weights_that_only_some_terms_need_are_allowed():
    # the second weight enters linearly: its gradient is a constant, of which nothing can be differentiated
    x = torch.tensor(3.0, requires_grad=True)
    start, lr = [torch.tensor(1.0), torch.tensor(2.0)], torch.tensor(0.1, requires_grad=True)

    class Partly(InnerProblem):
        def loss(self, t, weights):
            return self.inputs[0] * weights[0].square() + weights[1]

    def outer(weights):
        return weights[0] * weights[1]

    exact = torch.autograd.grad(unroll_stored(Partly([x]), outer, start, lr, 2), [lr, x])
    ours = torch.autograd.grad(unroll_constant_memory(Partly([x]), outer, start, lr, 2), [lr, x])
    torch.testing.assert_close(ours, exact)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_carry_gives_the_value_and_the_gradients_to_the_last_bit(dtype):
    torch.manual_seed(2)
    value = torch.tensor(0.1, dtype=dtype, requires_grad=True)
    inputs = [torch.randn(shape, dtype=dtype).requires_grad_() for shape in ((), (5, 2), (3,))]
    gradients = [1e3 * torch.randn_like(x) for x in inputs]  # beside their products with the inputs the value is small
    carried = scalar_with_gradient(value, inputs, gradients)
    assert carried.item() == value.item()
    assert carried.dtype == dtype
    (3 * carried).backward()
    assert value.grad is None
    for x, gradient in zip(inputs, gradients, strict=True):
        assert torch.equal(x.grad, 3 * gradient)


def peak_of_saved_bytes(steps: int, constant: bool) -> int:
    """The most bytes that graphs kept for their backward passes at any moment."""
    alive = peak = 0

    class Box:
        def __init__(self, tensor):
            self.tensor = tensor.detach()  # a saved output would keep its own graph alive

    def release(size):
        nonlocal alive
        alive -= size

    def pack(tensor):
        nonlocal alive, peak
        box, size = Box(tensor), tensor.nbytes
        weakref.finalize(box, release, size)
        alive += size
        peak = max(peak, alive)
        return box

    problem = Problem(steps)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda box: box.tensor):
        value = problem.value(constant)
        torch.autograd.grad(value, [problem.lr, *problem.inputs])
    del value
    assert alive == 0
    return peak


def test_constant_memory_keeps_one_steps_graph_and_unrolled_all():
    one, *more = (peak_of_saved_bytes(steps, True) for steps in (1, 2, 8))
    assert max(more) <= 1.05 * one
    few_unrolled, many_unrolled = (peak_of_saved_bytes(steps, False) for steps in (2, 8))
    assert many_unrolled > 3 * few_unrolled
    assert many_unrolled > 3 * max(more)
