"""Gradients of networks' losses, in as many pieces as memory and cache like, and once more differentiated."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from lightning_distill.functional.chunking import retry_with_smaller_chunk
from lightning_distill.functional.network import FunctionalNetwork, Parameters


def accumulate_gradients(losses: Iterable[Tensor], parameters: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """The sum of losses and its gradient, each graph freed before the next loss is asked for.

    Nothing is written to ``.grad``, so hooks on the parameters (DDP's) stay silent.

    Args:
        losses: scalars; an unused parameter gets a zero gradient.
        parameters: what to differentiate by.

    Returns:
        The detached sum, and one gradient a parameter.
    """
    gradients = [torch.zeros_like(parameter) for parameter in parameters]
    total = gradients[0].new_zeros(())
    for loss in losses:
        for summed, gradient in zip(gradients, torch.autograd.grad(loss, parameters, allow_unused=True), strict=True):
            if gradient is not None:
                summed += gradient
        total += loss.detach()
    return total, gradients


def loss_gradient(network: FunctionalNetwork, parameters: Parameters, x: Tensor, y: Tensor) -> list[Tensor]:
    """Gradient of the mean of `FunctionalNetwork.loss` by the weights, a chunk of images at a time.

    Args:
        network: whose.
        parameters: weights and buffers; batch norm must be frozen where the network has a chunk.
        x: images ``(B, C, H, W)``.
        y: labels ``(B,)`` or probabilities ``(B, K)``.

    Returns:
        One gradient a weight.
    """
    return retry_with_smaller_chunk(network, len(x), lambda: _loss_gradient(network, parameters, x, y))


def _loss_gradient(network: FunctionalNetwork, parameters: Parameters, x: Tensor, y: Tensor) -> list[Tensor]:
    weights = network.require_grad(parameters)
    total: list[Tensor] = []
    for images, targets in network.chunks(x, y):
        loss = network.loss(network(parameters, images), targets, "sum") / len(x)
        with torch.autocast(x.device.type, enabled=False):  # a backward has the types of its forward
            gradients = torch.autograd.grad(loss, weights)
        if total:
            torch._foreach_add_(total, gradients)
        else:
            total = [gradient.clone(memory_format=torch.contiguous_format) for gradient in gradients]
    return total


def mixed_derivative(
    network: FunctionalNetwork, parameters: Parameters, x: Tensor, y: Tensor, directions: Sequence[Tensor]
) -> tuple[list[Tensor | None], Tensor, Tensor | None]:
    r"""What changes the gradient of the loss along given directions of weight space.

    With :math:`g = \nabla_\theta \ell(\theta, x, y)`, :math:`\ell` the mean of `FunctionalNetwork.loss`, and directions v:

    .. math:: \nabla_\theta \langle v, g\rangle, \quad \nabla_x \langle v, g\rangle, \quad \nabla_y \langle v, g\rangle

    that is how every second-order method differentiates. As :math:`\langle v, g\rangle = \frac{d}{d\epsilon}
    \ell(\theta + \epsilon v)`, a compiled network goes through forward mode once and backward once (Pearlmutter 1994),
    which a compiler understands; it does not understand two backwards, which eager networks do.

    Args:
        network: whose.
        parameters: weights and buffers; batch norm must be frozen where the network has a chunk.
        x: images ``(B, C, H, W)``.
        y: labels ``(B,)``, or probabilities ``(B, K)`` to be differentiated by as well.
        directions: one a weight.

    Returns:
        By the weights (None where a weight does not matter), by the images, and by the probabilities or None.
    """
    return retry_with_smaller_chunk(network, len(x), lambda: _mixed_derivative(network, parameters, x, y, directions))


def _mixed_derivative(
    network: FunctionalNetwork, parameters: Parameters, x: Tensor, y: Tensor, directions: Sequence[Tensor]
) -> tuple[list[Tensor | None], Tensor, Tensor | None]:
    weights = network.require_grad(parameters)
    by_weights: list[Tensor | None] = [None for _ in weights]
    by_rest: list[list[Tensor]] = []
    for images, targets in network.chunks(x, y):
        inputs = [t.detach().requires_grad_() for t in (images, targets) if t.is_floating_point()]
        of = targets if len(inputs) == 1 else inputs[1]
        slope = network.directional_derivative(parameters, directions, inputs[0], of, len(x))
        with torch.autocast(x.device.type, enabled=False):
            found = torch.autograd.grad(slope, [*weights, *inputs], allow_unused=True)
        for i, gradient in enumerate(found[: len(weights)]):
            if gradient is not None:
                by_weights[i] = gradient + (0 if by_weights[i] is None else by_weights[i])  # type: ignore[operator]
        rest = found[len(weights) :]
        by_rest.append([torch.zeros_like(i) if g is None else g.clone() for i, g in zip(inputs, rest, strict=True)])
    joined = [torch.cat(parts) for parts in zip(*by_rest, strict=True)]
    return by_weights, joined[0], joined[1] if len(joined) > 1 else None


def optimizer_step(
    network: FunctionalNetwork, parameters: Parameters, optimizer: torch.optim.Optimizer, x: Tensor, targets: Tensor
) -> None:
    """One step of an optimizer over `FunctionalNetwork.trainable` weights, on the mean of `FunctionalNetwork.loss`.

    Args: see `loss_gradient`.
    """
    gradients = loss_gradient(network, parameters, x, targets)
    for weight, gradient in zip(network.require_grad(parameters), gradients, strict=True):
        weight.grad = gradient
    optimizer.step()
