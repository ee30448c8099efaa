"""Pool of online networks that learn from the synthetic set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lightning_distill.augmentation.siamese import SiameseAugmentation
from lightning_distill.functional.gradients import optimizer_step
from lightning_distill.functional.network import FunctionalNetwork, Parameters
from lightning_distill.utils.rng import derive_seed, isolated_rng

#: Batch size, momentum and weight decay of the training of the networks, those of the protocols for students.
BATCH_SIZE, MOMENTUM, WEIGHT_DECAY = 256, 0.9, 5e-4
#: Prefix of momentum buffers, and the name of the ages, in the state of a pool.
MOMENTUM_PREFIX, AGES = "momentum.", "ages"


class NetworkPool:
    """Online networks that train on the synthetic set after they were used, and are replaced by new ones with age.

    Member i of P has the architecture i of n, counted round. At the start it has the age ``i * max_age / P``, with the
    training that belongs to it, so that the networks of every step have all ages up to ``max_age``. The pool keeps
    nothing itself: its state is a dict of tensors for `Distiller.extra_state`, with weights, buffers and momentum of
    member i under ``{i}.`` and the ages as ``ages``.

    Args:
        networks: Architectures, which the members have in turn.
        augment: Augmentation of the training, used in its plain form.
        size: Number P of networks.
        max_age: Number of uses after which a network is replaced.
        steps: SGD steps on the set after each use; 0 keeps all networks at their initial weights.
        lr: Learning rate of these steps; momentum 0.9, weight decay 5e-4.
        seed: Seed of the initial weights.
    """

    def __init__(
        self,
        networks: Sequence[FunctionalNetwork],
        augment: SiameseAugmentation,
        *,
        size: int,
        max_age: int,
        steps: int,
        lr: float,
        seed: int,
    ) -> None:
        self.networks, self.augment, self.size = networks, augment, size
        self.max_age, self.steps, self.lr, self.seed = max_age, steps, lr, seed

    def start(self, images: Tensor, targets: Tensor) -> Parameters:
        """Return the state of new networks of all ages; the random numbers depend on the seed alone.

        Args:
            images: Synthetic images ``(N, C, H, W)``.
            targets: Their targets, ``(N,)`` or ``(N, K)``.
        """
        state: Parameters = {AGES: torch.zeros(self.size, dtype=torch.int64, device=images.device)}
        for index in range(self.size):
            self.replace(state, index, 0)
            with isolated_rng(derive_seed(self.seed, "pool", index, "start")):
                for _ in range(index * self.max_age // self.size):
                    self.advance(state, index, images, targets)
        return state

    def fits(self, state: Mapping[str, Tensor]) -> bool:
        """Return whether a state holds members of this number and these architectures."""
        if len(state[AGES]) != self.size:
            return False
        with isolated_rng(self.seed):
            fresh = [{k: v.shape for k, v in n.init_params(state[AGES].device).items()} for n in self.networks]
        members = [{k: v.shape for k, v in self.member(state, index).items()} for index in range(self.size)]
        return all(shapes == fresh[index % len(fresh)] for index, shapes in enumerate(members))

    def index_at(self, step: int) -> int:
        """Return the number of the member that an image step uses."""
        return derive_seed(self.seed, step, "network of the pool") % self.size

    def network_of(self, index: int) -> FunctionalNetwork:
        """Return the architecture of a member."""
        return self.networks[index % len(self.networks)]

    def member(self, state: Mapping[str, Tensor], index: int) -> Parameters:
        """Return weights and buffers of a network; buffers are copies, which batch norm may overwrite."""
        prefix, weights = f"{index}.", self.network_of(index).weight_names
        named = {
            key.removeprefix(prefix): value
            for key, value in state.items()
            if key.startswith(prefix) and not key.startswith(prefix + MOMENTUM_PREFIX)
        }
        return {k: v.detach() if k in weights else v.clone() for k, v in named.items()}

    def replace(self, state: Parameters, index: int, birth: int | str) -> None:
        """Put a new network into the state; its weights depend on (seed, index, birth) alone."""
        device, network = state[AGES].device, self.network_of(index)
        with isolated_rng(derive_seed(self.seed, "pool", index, birth)):
            new = network.init_params(device)
        prefix = f"{index}."
        for key in [key for key in state if key.startswith(prefix)]:
            del state[key]
        state.update({prefix + name: tensor for name, tensor in new.items()})
        zeros = {name: torch.zeros_like(tensor) for name, tensor in new.items() if name in network.weight_names}
        state.update({prefix + MOMENTUM_PREFIX + name: tensor for name, tensor in zeros.items()})
        state[AGES][index] = 0

    def advance(self, state: Parameters, index: int, images: Tensor, targets: Tensor) -> None:
        """Train a network on batches of the set and raise its age by one."""
        state[AGES][index] += 1
        if not self.steps:
            return
        network = self.network_of(index)
        parameters = {name: state[f"{index}.{name}"].detach() for name in self.member(state, index)}
        weights = network.require_grad(parameters)
        sgd = torch.optim.SGD(weights, lr=self.lr, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
        for name in network.weight_names:
            sgd.state[parameters[name]]["momentum_buffer"] = state[f"{index}.{MOMENTUM_PREFIX}{name}"]
        network.train()
        for _ in range(self.steps):
            rows = torch.randperm(len(targets))[:BATCH_SIZE].to(images.device)
            optimizer_step(network, parameters, sgd, self.augment.plain(images[rows]), targets[rows])

    def step(self, state: Parameters, index: int, step: int, images: Tensor, targets: Tensor) -> None:
        """Train the network that was used at an image step, and replace it at the age ``max_age``."""
        if int(state[AGES][index]) + 1 >= self.max_age:
            self.replace(state, index, step + 1)
        else:
            self.advance(state, index, images, targets)
