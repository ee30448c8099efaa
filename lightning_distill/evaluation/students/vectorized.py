"""Several students of one architecture trained at once: one step moves all of them, through ``torch.func.vmap``."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor
from torch.func import vmap

from lightning_distill.augmentation.siamese import SiameseAugmentation
from lightning_distill.evaluation.students.protocol import ProgressCallback, Protocol
from lightning_distill.functional.network import FunctionalNetwork, Parameters
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.sets.lazy_images import LazyImages
from lightning_distill.spec import DataSpec
from lightning_distill.utils.rng import derive_seed, isolated_rng

Drawn = TypeVar("Drawn")


@dataclass
class VectorizedTrainer:
    """Trains students together, as many at once as memory holds.

    Weights, shuffling and augmentation of a student come from its own random stream: up to rounding it becomes the
    student that `StudentTrainer.train` makes.

    Args:
        architecture: its name, from which students draw their weights.
        network: of all students; one that `refusal` does not refuse.
        augment: of their images.
        spec: mean and std to normalise by.
        protocol: how they are trained.
        device: where.
        bf16: forward in bfloat16 under autocast.
    """

    architecture: str
    network: FunctionalNetwork
    augment: SiameseAugmentation
    spec: DataSpec
    protocol: Protocol
    device: torch.device
    bf16: bool
    max_students: int | None = field(default=None, init=False)

    def fit_many(
        self, data: Sequence[LabeledSet], seeds: Sequence[int], on_epoch: ProgressCallback
    ) -> list[Parameters]:
        """The trained parameters of one student for each set and seed.

        Args:
            data: what each learns from; `alike`.
            seeds: of each.
            tick: called once for each student after every epoch.

        Raises:
            torch.OutOfMemoryError: memory does not hold a single student.
        """
        trained: list[Parameters] = []
        once = ProgressOnce(on_epoch)
        while len(trained) < len(seeds):
            part = slice(len(trained), len(trained) + (self.max_students or len(seeds)))
            try:
                trained += self._fit_chunk(data[part], seeds[part], once)
            except torch.OutOfMemoryError:
                group = len(seeds[part])
                if group == 1:
                    raise
                if self.max_students is None:
                    tried = f"{group} students of {self.architecture!r}"
                    warnings.warn(f"{tried} at once do not fit into memory; training fewer at once", stacklevel=2)
                self.max_students = -(-group // 2)
                once.rewind(len(trained) * (self.protocol.epochs + 1))
        return trained

    def _fit_chunk(
        self, data: Sequence[LabeledSet], seeds: Sequence[int], on_epoch: ProgressCallback
    ) -> list[Parameters]:
        hp, network, device = self.protocol, self.network, self.device
        with isolated_rng(0):
            streams = [RngStream(derive_seed("student", self.architecture, seed)) for seed in seeds]
            stacked = _stack_parameters([stream(network.init_params, device) for stream in streams])
            weights = network.require_grad(stacked)
            sgd = torch.optim.SGD(weights, hp.lr, momentum=hp.momentum, weight_decay=hp.weight_decay)
            moved = {id(part): (_to_device(part.pixels, device), part.targets.to(device)) for part in data}
            sets = [moved[id(part)] for part in data]
            network.train()
            for epoch in range(hp.epochs + 1):
                sgd.param_groups[0]["lr"] = hp.lr_at(epoch, data[0].lr)
                orders = torch.stack([stream(torch.randperm, len(data[0].labels)) for stream in streams])  # (S, N)
                for rows in orders.to(device).split(hp.batch_size, dim=1):  # (S, B)
                    pixels = torch.stack([part[own].to(device) for (part, _), own in zip(sets, rows, strict=True)])
                    targets = torch.cat([part[own] for (_, part), own in zip(sets, rows, strict=True)])
                    x = self.spec.normalize(pixels)  # (S, B, C, H, W)
                    x = torch.stack([stream(self.augment.plain, own) for stream, own in zip(streams, x, strict=True)])
                    with torch.autocast(device.type, torch.bfloat16, enabled=self.bf16, cache_enabled=False):
                        logits = forward_all(network, stacked, x)  # (S, B, K)
                    # Each student's loss is a mean; their sum has in each student's weights that student's gradient.
                    loss = network.loss(logits.flatten(0, 1), targets) * len(seeds)
                    for weight, gradient in zip(weights, torch.autograd.grad(loss, weights), strict=True):
                        weight.grad = gradient
                    sgd.step()
                for _ in seeds:
                    on_epoch()
        return [{name: tensor.detach()[i].clone() for name, tensor in stacked.items()} for i in range(len(seeds))]


def forward_all(network: FunctionalNetwork, stacked: Parameters, x: Tensor) -> Tensor:
    """Logits ``(S, B, K)`` of S students with stacked parameters ``(S, ...)``, each of its own ``(S, B, C, H, W)``."""
    logits: Tensor = vmap(network.eager)(stacked, x)
    return logits


def can_vectorize(data: Sequence[LabeledSet]) -> bool:
    """Whether sets can be learned from in equal steps: same size, same rate, all with labels or all with soft ones."""
    return len({(len(part.labels), part.lr, part.soft_labels is None) for part in data}) == 1


def vectorize_error(network: FunctionalNetwork, shape: tuple[int, int, int], device: torch.device) -> str | None:
    """Why students with this network cannot be trained together on images ``(C, H, W)``; ``None`` where they can."""
    if network.batch_norm:
        return "batch norm keeps running statistics"
    with isolated_rng(0):
        network.train()
        try:
            stacked = _stack_parameters([network.init_params(device) for _ in range(2)])
            forward_all(network, stacked, torch.zeros(2, 2, *shape, device=device))
        except RuntimeError as error:
            return str(error).strip().split("\n")[0]
    return None


class RngStream:
    """A student's own random stream on the CPU, taken up where its last draw left it."""

    def __init__(self, seed: int) -> None:
        self._state = torch.Generator().manual_seed(seed).get_state()

    def __call__(self, draw: Callable[..., Drawn], *args: object) -> Drawn:
        torch.set_rng_state(self._state)
        drawn = draw(*args)
        self._state = torch.get_rng_state()
        return drawn


class ProgressOnce:
    """Passes every tick on once, also where epochs have to be trained again."""

    def __init__(self, tick: ProgressCallback) -> None:
        self._tick, self._made, self._shown = tick, 0, 0

    def __call__(self) -> None:
        self._made += 1
        if self._made > self._shown:
            self._shown = self._made
            self._tick()

    def rewind(self, made: int) -> None:
        self._made = made


def _to_device(pixels: Tensor, device: torch.device) -> Tensor:
    return pixels if isinstance(pixels, LazyImages) else pixels.to(device)


def _stack_parameters(parameters: Sequence[Parameters]) -> Parameters:
    return {name: torch.stack([own[name] for own in parameters]) for name in parameters[0]}
