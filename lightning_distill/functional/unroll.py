"""Gradients through several steps of SGD, with the whole graph or with the graph of one step at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

#: Loss of the weights after the last step.
OuterLoss = Callable[[list[Tensor]], Tensor]


class InnerProblem(ABC):
    r"""The loss :math:`\ell_t` of every inner step; a step t must draw the same random numbers every time.

    Args:
        inputs: Tensors x, beside the weights, on which the loss depends.
    """

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        self.inputs = list(inputs)

    @abstractmethod
    def loss(self, t: int, weights: list[Tensor]) -> Tensor:
        """Return a scalar that can be differentiated twice, by weights and inputs."""

    def gradient(self, t: int, weights: list[Tensor]) -> list[Tensor]:
        r""":math:`g_t = \nabla_\theta \ell_t`, without a graph."""
        return list(torch.autograd.grad(self.loss(t, weights), weights))

    def mixed(
        self, t: int, weights: list[Tensor], directions: list[Tensor]
    ) -> tuple[Sequence[Tensor | None], Sequence[Tensor | None]]:
        r""":math:`\nabla_\theta \langle v, g_t\rangle` and :math:`\nabla_x \langle v, g_t\rangle`; None is zero."""
        gradients = torch.autograd.grad(self.loss(t, weights), weights, create_graph=True)
        bent = [g for g in gradients if g.requires_grad]  # where a loss is linear in a weight, its gradient is not
        along = [v for v, g in zip(directions, gradients, strict=True) if g.requires_grad]
        second = torch.autograd.grad(bent, [*weights, *self.inputs], along, allow_unused=True)
        return second[: len(weights)], second[len(weights) :]


def unroll_stored(inner: InnerProblem, outer: OuterLoss, start: Sequence[Tensor], lr: Tensor, steps: int) -> Tensor:
    r"""Return the outer loss after some steps of SGD, with the whole graph: memory grows with ``steps``.

    .. math:: \theta_{t+1} = \theta_t - \alpha \nabla_\theta \ell_t(\theta_t), \qquad L = L(\theta_N)

    Args:
        inner: Inner problem with the losses :math:`\ell_t`.
        outer: Outer loss :math:`L` of the last weights.
        start: Initial weights :math:`\theta_0`.
        lr: Learning rate :math:`\alpha`, a scalar.
        steps: Number of steps N.

    Returns:
        A scalar; it can be differentiated by ``lr`` and by the inputs of ``inner``.
    """
    return outer(sgd_path(inner, start, lr, steps)[-1])


def sgd_path(inner: InnerProblem, start: Sequence[Tensor], lr: Tensor, steps: int) -> list[list[Tensor]]:
    r"""Return the weights :math:`\theta_0, ..., \theta_N` of steps of SGD with their graph, see `unroll_stored`."""
    path = [[w.detach().requires_grad_() for w in start]]
    for t in range(steps):
        gradients = torch.autograd.grad(inner.loss(t, path[-1]), path[-1], create_graph=True)
        path.append([w - lr * g for w, g in zip(path[-1], gradients, strict=True)])
    return path


def unroll_constant_memory(
    inner: InnerProblem, outer: OuterLoss, start: Sequence[Tensor], lr: Tensor, steps: int
) -> Tensor:
    r"""Return the value and gradient of `unroll_stored`, with the graph of one step in memory at a time.

    The weights and gradients of every step are kept (2N copies of a network, small beside one step's activations);
    then, from the last step back, with :math:`\lambda_N = \nabla L(\theta_N)` and
    :math:`g_t = \nabla_\theta \ell_t(\theta_t)`:

    .. math::
        \frac{dL}{d\alpha} \mathrel{-}= \langle\lambda_{t+1}, g_t\rangle, \quad
        \frac{dL}{dx} \mathrel{-}= \alpha \nabla_x \langle\lambda_{t+1}, g_t\rangle, \quad
        \lambda_t = \lambda_{t+1} - \alpha \nabla_\theta \langle\lambda_{t+1}, g_t\rangle

    TESLA, which introduced constant memory to trajectory matching, writes :math:`\theta_N - \theta_0` as a sum and
    drops the last term: there :math:`\lambda_t = \lambda_N` and a step's gradient ignores that its weights came
    from the images as well. With the term kept, the gradient is exact; `tests/functional/test_unroll.py` tests both.

    Args:
        inner: Inner problem with the losses :math:`\ell_t`; evaluated twice per step.
        outer: Outer loss :math:`L` of the last weights.
        start: Initial weights :math:`\theta_0`.
        lr: Learning rate :math:`\alpha`, a scalar.
        steps: Number of steps N.

    Returns:
        A scalar that carries the gradient by ``lr`` and the inputs of ``inner`` (and by nothing else).

    Reference:
        Cui et al.: Scaling Up Dataset Distillation to ImageNet-1K with Constant Memory, ICML 2023, arXiv 2211.10586.
    """
    rate = lr.detach()
    path, gradients = [[w.detach() for w in start]], []
    for t in range(steps):
        gradients.append(inner.gradient(t, [w.detach().requires_grad_() for w in path[-1]]))
        path.append([w - rate * g for w, g in zip(path[-1], gradients[-1], strict=True)])
    end = [w.detach().requires_grad_() for w in path.pop()]
    value = outer(end)
    adjoint = list(torch.autograd.grad(value, end))
    by_lr, by_inputs = torch.zeros_like(rate), [torch.zeros_like(x) for x in inner.inputs]
    for t in reversed(range(steps)):
        by_lr -= sum((a * g).sum() for a, g in zip(adjoint, gradients.pop(), strict=True))
        bent, by_step = inner.mixed(t, [w.detach().requires_grad_() for w in path.pop()], [rate * a for a in adjoint])
        adjoint = [a if h is None else a - h for a, h in zip(adjoint, bent, strict=True)]
        for summed, gradient in zip(by_inputs, by_step, strict=True):
            if gradient is not None:
                summed -= gradient
    return scalar_with_gradient(value, [lr, *inner.inputs], [by_lr, *by_inputs])


def scalar_with_gradient(value: Tensor, inputs: Sequence[Tensor], gradients: Sequence[Tensor]) -> Tensor:
    """Return a scalar with a given value and with given, already computed, gradients by each input."""
    linear = torch.stack([(x * g).sum() for x, g in zip(inputs, gradients, strict=True)]).sum()
    return value.detach() + (linear - linear.detach())
