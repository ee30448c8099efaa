"""Train several students of one architecture in one step, by ``torch.func.vmap``."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor
from torch.func import vmap

from lightning_distill.augmentation.siamese import SiameseAugmentation
from lightning_distill.evaluation.students.protocol import Protocol
from lightning_distill.functional.network import FunctionalNetwork, Parameters
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.sets.lazy_images import LazyImages
from lightning_distill.spec import DataSpec
from lightning_distill.utils.progress import ProgressCallback
from lightning_distill.utils.rng import derive_seed, isolated_rng

Result = TypeVar("Result")


@dataclass(kw_only=True)
class VectorizedTrainer:
    """Trainer of several students at once. It trains fewer at once when memory runs out.

    The weights, shuffling and augmentation of a student are drawn from its own random stream, so that the student
    equals that of `StudentTrainer.fit` up to rounding.

    Args:
        architecture: Name of the network; part of the seed of the students.
        network: Network of all students, for which `vectorize_error` returns ``None``.
        augment: Augmentation of the training images.
        spec: Mean and std to normalise by.
        protocol: Training protocol.
        device: Device to train on.
        bf16: Whether to run the forward pass in bfloat16 under autocast.

    Attributes:
        max_students: Number of students that memory holds at once; ``None`` until memory ran out.
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
        """Train one student on each set and return their parameters.

        Args:
            data: Training set of each student, for which `can_vectorize` holds.
            seeds: Seed of each student.
            on_epoch: Function that is called once for each student after every epoch.

        Raises:
            torch.OutOfMemoryError: Memory does not hold a single student.
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
                    students = f"{group} students of {self.architecture!r}"
                    warnings.warn(f"{students} at once do not fit into memory; training fewer at once", stacklevel=2)
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
                    # The gradient of the summed losses in one student's weights is that of its own loss.
                    loss = network.loss(logits.flatten(0, 1), targets) * len(seeds)
                    for weight, gradient in zip(weights, torch.autograd.grad(loss, weights), strict=True):
                        weight.grad = gradient
                    sgd.step()
                for _ in seeds:
                    on_epoch()
        return [{name: tensor.detach()[i].clone() for name, tensor in stacked.items()} for i in range(len(seeds))]


def forward_all(network: FunctionalNetwork, stacked: Parameters, x: Tensor) -> Tensor:
    """Return the logits ``(S, B, K)`` of S students, each on its own batch.

    Args:
        network: Network of all students.
        stacked: Parameters of all students by name, ``(S, ...)``.
        x: Normalised images ``(S, B, C, H, W)``.
    """
    logits: Tensor = vmap(network.eager)(stacked, x)
    return logits


def can_vectorize(data: Sequence[LabeledSet]) -> bool:
    """Return whether all sets have the same size and learning rate, and either labels or soft labels."""
    return len({(len(part.labels), part.lr, part.soft_labels is None) for part in data}) == 1


def vectorize_error(network: FunctionalNetwork, shape: tuple[int, int, int], device: torch.device) -> str | None:
    """Return the reason why students with this network cannot be vectorized, ``None`` if they can.

    Args:
        network: Network of all students.
        shape: Shape of an image, ``(C, H, W)``.
        device: Device to train on.
    """
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
    """Random stream of one student on the CPU; each call continues where the last one ended.

    Args:
        seed: Seed of the stream.
    """

    def __init__(self, seed: int) -> None:
        self._state = torch.Generator().manual_seed(seed).get_state()

    def __call__(self, function: Callable[..., Result], *args: object) -> Result:
        """Call the function with torch's random state set to this stream."""
        torch.set_rng_state(self._state)
        result = function(*args)
        self._state = torch.get_rng_state()
        return result


class ProgressOnce:
    """Progress callback that reports an epoch once, also if it is trained again after memory ran out.

    Args:
        on_epoch: Function that is called once for each student and epoch.
    """

    def __init__(self, on_epoch: ProgressCallback) -> None:
        self._on_epoch, self._epochs, self._reported = on_epoch, 0, 0

    def __call__(self) -> None:
        """Count an epoch, and report it unless it was reported before."""
        self._epochs += 1
        if self._epochs > self._reported:
            self._reported = self._epochs
            self._on_epoch()

    def rewind(self, epochs: int) -> None:
        """Set the number of epochs that are kept."""
        self._epochs = epochs


def _to_device(pixels: Tensor, device: torch.device) -> Tensor:
    return pixels if isinstance(pixels, LazyImages) else pixels.to(device)


def _stack_parameters(parameters: Sequence[Parameters]) -> Parameters:
    return {name: torch.stack([own[name] for own in parameters]) for name in parameters[0]}
