"""Networks of a bank that are trained on the real data for a few steps."""

from __future__ import annotations

from collections.abc import Callable

import torch

from lightning_distill.data import ArrayDataModule
from lightning_distill.data.loaders import ClassBalancedLoader
from lightning_distill.functional.gradients import optimizer_step
from lightning_distill.functional.network import FunctionalNetwork, Parameters
from lightning_distill.signals.draws import SignalDraws
from lightning_distill.spec import DataSpec
from lightning_distill.utils.rng import derive_seed

#: Settings of the SGD optimizer of the networks, those of IDM; and the real images of a batch.
LR, MOMENTUM, WEIGHT_DECAY, BATCH_SIZE = 0.01, 0.9, 5e-4, 256


def train_networks(
    datamodule: ArrayDataModule,
    spec: DataSpec,
    draws: SignalDraws,
    network: FunctionalNetwork,
    steps: int,
    *,
    device: torch.device | str = "cpu",
    on_network: Callable[[], None] | None = None,
) -> Parameters:
    """Train the network of every draw on balanced batches, and return the trained weights ``(P, ...)`` by name.

    Args:
        datamodule: Real data.
        spec: Description of the data: mean and std.
        draws: Networks.
        network: Network of the draws.
        steps: Number of SGD steps of each network.
        device: Device to compute on.
        on_network: Function that is called after each network.
    """
    images, labels = datamodule.train_arrays()
    classes = len(spec.balance_groups)
    trained: list[Parameters] = []
    for draw in range(draws.count):
        loader = ClassBalancedLoader(
            images,
            labels,
            num_classes=classes,
            per_class=max(1, BATCH_SIZE // classes),
            steps=steps,
            seed=derive_seed(draws.seed, "signal training", draw) % 2**31,
        )
        parameters = draws.parameters(draw, network, device)
        sgd = torch.optim.SGD(network.require_grad(parameters), lr=LR, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
        network.train()
        for pixels, numbers in loader:
            x, targets = spec.normalize(pixels.to(device)), spec.targets(numbers).to(device)
            optimizer_step(network, parameters, sgd, x, targets)
        trained.append({name: tensor.detach().cpu() for name, tensor in parameters.items()})
        if on_network is not None:
            on_network()
    return {name: torch.stack([parameters[name] for parameters in trained]) for name in trained[0]}
