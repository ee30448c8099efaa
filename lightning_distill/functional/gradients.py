"""First and second derivatives of network losses, computed in chunks of images."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from lightning_distill.functional.chunking import retry_with_smaller_chunk
from lightning_distill.functional.network import FunctionalNetwork, Parameters
from lightning_distill.utils.private_apis import add_to_each


def accumulate_gradients(losses: Iterable[Tensor], parameters: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """Return the sum of losses and its gradient; each graph is freed before the next loss is requested.

    Nothing is written to ``.grad``, so hooks on the parameters (DDP's) are not called.

    Args:
        losses: Scalar losses; an unused parameter gets a zero gradient.
        parameters: Tensors to differentiate by.

    Returns:
        The detached sum, and one gradient for each parameter.
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
    """Return the gradient of the mean of `FunctionalNetwork.loss` by the weights, computed chunk by chunk.

    Args:
        network: Network with the weights to differentiate by.
        parameters: Weights and buffers by name; batch norm must be frozen where the network has a chunk.
        x: Images ``(B, C, H, W)``.
        y: Labels ``(B,)`` or probabilities ``(B, K)``.

    Returns:
        One gradient for each weight.
    """
    return retry_with_smaller_chunk(network, len(x), lambda: _loss_gradient(network, parameters, x, y))


def _loss_gradient(network: FunctionalNetwork, parameters: Parameters, x: Tensor, y: Tensor) -> list[Tensor]:
    weights = network.require_grad(parameters)
    total: list[Tensor] = []
    for images, targets in network.chunks(x, y):
        loss = network.loss(network(parameters, images), targets, "sum") / len(x)
        with torch.autocast(x.device.type, enabled=False):  # a backward pass has the dtypes of its forward pass
            gradients = torch.autograd.grad(loss, weights)
        if total:
            add_to_each(total, gradients)
        else:
            total = [gradient.clone(memory_format=torch.contiguous_format) for gradient in gradients]
    return total


def mixed_derivative(
    network: FunctionalNetwork, parameters: Parameters, x: Tensor, y: Tensor, directions: Sequence[Tensor]
) -> tuple[list[Tensor | None], Tensor, Tensor | None]:
    r"""Return the derivatives of the loss gradient along given directions of weight space.

    With :math:`g = \nabla_\theta \ell(\theta, x, y)`, :math:`\ell` the mean of `FunctionalNetwork.loss`, and directions
    v:

    .. math:: \nabla_\theta \langle v, g\rangle, \quad \nabla_x \langle v, g\rangle, \quad \nabla_y \langle v, g\rangle

    Every second-order method differentiates in this form. As :math:`\langle v, g\rangle = \frac{d}{d\epsilon}
    \ell(\theta + \epsilon v)`, a compiled network uses forward mode once and backward once (Pearlmutter 1994), which
    compilers support; they do not support two backward passes, which eager networks use.

    Args:
        network: Network with the weights to differentiate by.
        parameters: Weights and buffers by name; batch norm must be frozen where the network has a chunk.
        x: Images ``(B, C, H, W)``.
        y: Labels ``(B,)``, or probabilities ``(B, K)``, which are differentiated by as well.
        directions: Directions v, one tensor for each weight.

    Returns:
        The derivatives by the weights (``None`` where a weight has no effect), by the images, and by the probabilities
        or ``None``.
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
        labels = targets if len(inputs) == 1 else inputs[1]
        derivative = network.directional_derivative(parameters, directions, inputs[0], labels, len(x))
        with torch.autocast(x.device.type, enabled=False):
            gradients = torch.autograd.grad(derivative, [*weights, *inputs], allow_unused=True)
        for i, gradient in enumerate(gradients[: len(weights)]):
            if gradient is not None:
                by_weights[i] = gradient + (0 if by_weights[i] is None else by_weights[i])  # type: ignore[operator]
        rest = gradients[len(weights) :]
        by_rest.append([torch.zeros_like(i) if g is None else g.clone() for i, g in zip(inputs, rest, strict=True)])
    joined = [torch.cat(parts) for parts in zip(*by_rest, strict=True)]
    return by_weights, joined[0], joined[1] if len(joined) > 1 else None


def optimizer_step(
    network: FunctionalNetwork, parameters: Parameters, optimizer: torch.optim.Optimizer, x: Tensor, targets: Tensor
) -> None:
    """Take one step of an optimizer over the weights, on the mean of `FunctionalNetwork.loss`.

    Args:
        network: Network with the weights to train.
        parameters: Weights and buffers by name; batch norm must be frozen where the network has a chunk.
        optimizer: Optimizer over `FunctionalNetwork.require_grad(parameters)`.
        x: Images ``(B, C, H, W)``.
        targets: Labels ``(B,)`` or probabilities ``(B, K)``.
    """
    gradients = loss_gradient(network, parameters, x, targets)
    for weight, gradient in zip(network.require_grad(parameters), gradients, strict=True):
        weight.grad = gradient
    optimizer.step()
