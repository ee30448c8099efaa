"""Students: fresh networks trained on a set by a plain loop, then asked for predictions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from lightning_distill.augment import SiameseAugmentation
from lightning_distill.evaluation.protocol import Protocol
from lightning_distill.functional import CompileMode, Parameters, Stateless, count_flops, descend
from lightning_distill.isolation import derive_seed, sandbox
from lightning_distill.networks import create_network
from lightning_distill.spec import DataSpec

Tick = Callable[[], object]
Watch = Callable[[int, Parameters], object]


@dataclass(frozen=True)
class TrainingSet:
    """What a student learns from.

    Args:
        pixels: ``(N, C, H, W)`` in pixel units, any dtype, on the CPU.
        labels: ``(N,)`` int64.
        spec: mean and std to normalise by, and the classes.
        soft: probabilities ``(N, K)`` to learn from instead of the labels, where a set has learned them.
        lr: learning rate to learn with instead of the protocol's, where a set has learned one.
    """

    pixels: Tensor
    labels: Tensor
    spec: DataSpec
    soft: Tensor | None = None
    lr: float | None = None


@dataclass
class Student:
    """A trained network.

    Args:
        architecture: its name.
        seed: of its initial weights, its shuffling and its augmentation.
    """

    architecture: str
    seed: int
    network: Stateless
    parameters: Parameters
    bf16: bool

    @torch.no_grad()
    def predict(self, x: Tensor) -> Tensor:
        """Class probabilities ``(B, K)``, float32, of normalised images ``(B, C, H, W)``."""
        self.network.train(False)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.bf16):
            logits = self.network(self.parameters, x)
        return logits.float().softmax(1)


class School:
    """Trains students of one architecture; what is compiled is shared by all of them.

    Args:
        architecture: one of our names or timm's.
        spec: channels, image size, number of classes.
        protocol: how they are trained.
        images: in the set they will be trained on.
        students: to come; both decide for ``compile="auto"`` and for static shapes.
        device: where they are trained.
        bf16: forward in bfloat16 under autocast; weights and reductions stay float32.
        compile: see `functional.Stateless`.
    """

    def __init__(
        self,
        architecture: str,
        spec: DataSpec,
        protocol: Protocol,
        images: int,
        students: int,
        device: torch.device | str = "cpu",
        bf16: bool = False,
        compile: CompileMode = "auto",
    ) -> None:
        self.architecture, self.spec, self.protocol = architecture, spec, protocol
        self.device, self.bf16 = torch.device(device), bf16
        build = partial(create_network, architecture, spec.shape[0], spec.num_classes, spec.shape[1:])
        flops = 3.0 * count_flops(build, spec.shape) * images * students * (protocol.epochs + 1)
        sizes = (min(images, protocol.batch_size), protocol.batch_size)
        self.network = Stateless(build, flops=flops, compile=compile, sizes=sizes)
        self.augment = SiameseAugmentation(protocol.augmentation or spec.augmentation, spec.shape[1:])

    def train(
        self, data: TrainingSet, seed: int, tick: Tick = lambda: None, watch: Watch = lambda epoch, parameters: None
    ) -> Student:
        """One student, bit-identical for equal arguments on the CPU.

        Args:
            data: what it learns from.
            seed: of its initial weights, its shuffling and its augmentation.
            tick: called after every epoch.
            watch: called with 0 and the parameters before the first epoch, with n and the parameters after the n-th.
        """
        with sandbox(derive_seed("student", self.architecture, seed)):
            parameters = self.network.fresh(self.device)
            trainable, hp = self.network.trainable(parameters), self.protocol
            rate, targets = data.lr or hp.lr, data.labels if data.soft is None else data.soft
            sgd = torch.optim.SGD(trainable, lr=rate, momentum=hp.momentum, weight_decay=hp.weight_decay)
            self.network.train()
            watch(0, parameters)
            for epoch in range(hp.epochs + 1):
                for rows in torch.randperm(len(data.labels)).split(hp.batch_size):
                    self._step(parameters, sgd, data.pixels[rows], targets[rows])
                if epoch == hp.epochs // 2 + 1 and hp.decay:
                    sgd.param_groups[0]["lr"] = rate * 0.1
                tick()
                watch(epoch + 1, parameters)
        frozen = {name: tensor.detach() for name, tensor in parameters.items()}
        return Student(self.architecture, seed, self.network, frozen, self.bf16)

    def _step(self, parameters: Parameters, sgd: torch.optim.Optimizer, pixels: Tensor, targets: Tensor) -> None:
        x = self.augment.plain(self.spec.normalize(pixels.to(self.device)))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            descend(self.network, parameters, sgd, x, targets.to(self.device))
