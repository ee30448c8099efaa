"""Gradients through several steps of SGD: by the plain unrolled graph, or with one step's graph alive at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

#: Loss of inner step t at the given weights; ``twice`` says that its gradient will be differentiated again.
Inner = Callable[[int, list[Tensor], bool], Tensor]
#: Loss of the weights after the last step.
Outer = Callable[[list[Tensor]], Tensor]


def unrolled(inner: Inner, outer: Outer, start: Sequence[Tensor], lr: Tensor, steps: int) -> Tensor:
    r"""The outer loss after ``steps`` of SGD, with the whole graph: memory grows with ``steps``.

    .. math:: \theta_{t+1} = \theta_t - \alpha \nabla_\theta \ell_t(\theta_t), \qquad L = L(\theta_N)

    Args:
        inner: :math:`\ell_t`, a function of the weights and of whatever it closes over.
        outer: :math:`L`.
        start: :math:`\theta_0`.
        lr: :math:`\alpha`, a scalar.
        steps: N.

    Returns:
        A scalar; it can be differentiated by ``lr`` and by what ``inner`` closes over.
    """
    weights = [w.detach().requires_grad_() for w in start]
    for t in range(steps):
        gradients = torch.autograd.grad(inner(t, weights, True), weights, create_graph=True)
        weights = [w - lr * g for w, g in zip(weights, gradients, strict=True)]
    return outer(weights)


def constant_memory(
    inner: Inner, outer: Outer, start: Sequence[Tensor], lr: Tensor, steps: int, inputs: Sequence[Tensor]
) -> Tensor:
    r"""The same value and the same gradient as `unrolled`, with the graph of one step alive at a time.

    The weights of every step are kept (N copies of a network, small beside one step's activations); then, from the last
    step back, with :math:`\lambda_N = \nabla L(\theta_N)` and :math:`g_t = \nabla_\theta \ell_t(\theta_t)`:

    .. math::
        \frac{dL}{d\alpha} \mathrel{-}= \langle\lambda_{t+1}, g_t\rangle, \quad
        \frac{dL}{dx} \mathrel{-}= \alpha \nabla_x \langle\lambda_{t+1}, g_t\rangle, \quad
        \lambda_t = \lambda_{t+1} - \alpha \nabla_\theta \langle\lambda_{t+1}, g_t\rangle

    TESLA, which introduced constant memory to trajectory matching, writes :math:`\theta_N - \theta_0` as a sum and
    lets go of the last term: there :math:`\lambda_t = \lambda_N` and a step's gradient ignores that its weights came
    from the images as well. With the term kept, the gradient is exact; `tests/test_unroll.py` has both.

    Args:
        inner: :math:`\ell_t`; called twice a step, so it must draw the same random numbers for the same t.
        outer: :math:`L`.
        start: :math:`\theta_0`.
        lr: :math:`\alpha`, a scalar.
        steps: N.
        inputs: the x that ``inner`` closes over.

    Returns:
        A scalar that carries the gradient by ``lr`` and ``inputs`` (and by nothing else).

    Reference:
        Cui et al.: Scaling Up Dataset Distillation to ImageNet-1K with Constant Memory, ICML 2023, arXiv 2211.10586.
    """
    rate = lr.detach()
    path = [[w.detach() for w in start]]
    for t in range(steps):
        weights = [w.detach().requires_grad_() for w in path[-1]]
        gradients = torch.autograd.grad(inner(t, weights, False), weights)
        path.append([w.detach() - rate * g for w, g in zip(weights, gradients, strict=True)])
    end = [w.requires_grad_() for w in path.pop()]
    value = outer(end)
    adjoint = list(torch.autograd.grad(value, end))
    by_lr, by_inputs = torch.zeros_like(rate), [torch.zeros_like(x) for x in inputs]
    for t in reversed(range(steps)):
        weights = [w.requires_grad_() for w in path.pop()]
        gradients = torch.autograd.grad(inner(t, weights, True), weights, create_graph=True)
        by_lr -= sum((a * g.detach()).sum() for a, g in zip(adjoint, gradients, strict=True))
        bent = [g for g in gradients if g.requires_grad]  # where a loss is linear in a weight, its gradient is not
        scaled = [rate * a for a, g in zip(adjoint, gradients, strict=True) if g.requires_grad]
        second = torch.autograd.grad(bent, [*weights, *inputs], scaled, allow_unused=True)
        adjoint = [a if h is None else a - h for a, h in zip(adjoint, second, strict=False)]
        for summed, gradient in zip(by_inputs, second[len(weights) :], strict=True):
            if gradient is not None:
                summed -= gradient
    return carry(value, [lr, *inputs], [by_lr, *by_inputs])


def carry(value: Tensor, inputs: Sequence[Tensor], gradients: Sequence[Tensor]) -> Tensor:
    """A scalar of the given value whose gradient by each input is the one given, already computed."""
    linear = torch.stack([(x * g).sum() for x, g in zip(inputs, gradients, strict=True)]).sum()
    return value.detach() + (linear - linear.detach())
