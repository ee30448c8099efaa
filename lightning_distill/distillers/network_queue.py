"""Queue of networks in training, in one flat dict of tensors that a checkpoint keeps."""

from __future__ import annotations

import torch
from torch import Tensor

from lightning_distill.functional.gradients import optimizer_step
from lightning_distill.functional.network import FunctionalNetwork, Parameters
from lightning_distill.spec import Task


class NetworkQueue:
    """Queue of partly trained networks; the oldest leaves when a new one joins a full queue.

    Args:
        state: Tensors of all networks, changed in place. A network with number n has the entries ``n/weights/NAME``,
            ``n/momentum/NAME`` and ``n/accuracy``.

    Example:
        >>> queue = NetworkQueue({"0/accuracy": torch.tensor(0.5), "7/accuracy": torch.tensor(0.9)})
        >>> queue.numbers, queue.accuracy(7)
        ([0, 7], 0.8999999761581421)
    """

    def __init__(self, state: Parameters) -> None:
        self.state = state

    @property
    def numbers(self) -> list[int]:
        """Numbers of the networks, the oldest first."""
        return sorted({int(key.partition("/")[0]) for key in self.state})

    def push(self, parameters: Parameters, network: FunctionalNetwork, size: int) -> None:
        """Add a network with new parameters, and remove the oldest ones beyond ``size``."""
        number = max(self.numbers, default=-1) + 1
        self.state |= {f"{number}/weights/{name}": tensor for name, tensor in parameters.items()}
        self.state |= {f"{number}/momentum/{name}": torch.zeros_like(parameters[name]) for name in network.weight_names}
        self.state[f"{number}/accuracy"] = next(iter(parameters.values())).new_zeros(())
        for old in self.numbers[:-size]:
            for key in [key for key in self.state if key.startswith(f"{old}/")]:
                del self.state[key]

    def weights(self, number: int) -> Parameters:
        """Return the parameters and buffers of a network; they share memory with the state."""
        return self._part(f"{number}/weights/")

    def accuracy(self, number: int) -> float:
        """Return the accuracy of a network on its latest training batch, in [0, 1]; 0 before its training."""
        return self.state[f"{number}/accuracy"].item()

    def train(
        self,
        number: int,
        network: FunctionalNetwork,
        batches: list[tuple[Tensor, Tensor]],
        task: Task,
        *,
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 5e-4,
    ) -> None:
        """Train a network by one SGD step on each batch, and keep its accuracy on the last one, before that step.

        Args:
            number: Number of the network.
            network: Network whose parameters the queue holds.
            batches: Normalised images ``(B, C, H, W)`` with labels ``(B,)`` or targets ``(B, K)``.
            task: Task of the data.
            lr: Learning rate of the SGD optimizer.
            momentum: Momentum of the SGD optimizer.
            weight_decay: Weight decay of the SGD optimizer.
        """
        parameters, velocity = self.weights(number), self._part(f"{number}/momentum/")
        weights = network.require_grad(parameters)
        sgd = torch.optim.SGD(weights, lr=lr, momentum=momentum, weight_decay=weight_decay)
        for name, weight in zip(network.weight_names, weights, strict=True):
            sgd.state[weight]["momentum_buffer"] = velocity[name]  # updated in place
        network.train()
        for index, (x, targets) in enumerate(batches):
            if index == len(batches) - 1:
                with torch.no_grad():
                    logits = network(parameters, x)
                predictions = (logits > 0).to(targets.dtype) if task == "multi-label" else logits.argmax(1)
                self.state[f"{number}/accuracy"] = (predictions == targets).float().mean()
            optimizer_step(network, parameters, sgd, x, targets)
        for weight in weights:
            weight.requires_grad_(False).grad = None

    def _part(self, prefix: str) -> Parameters:
        return {key.removeprefix(prefix): tensor for key, tensor in self.state.items() if key.startswith(prefix)}
