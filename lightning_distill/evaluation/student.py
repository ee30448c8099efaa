"""Students: fresh networks trained on a set by a plain loop, then asked for predictions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_distill.augment import SiameseAugmentation
from lightning_distill.evaluation.protocol import Protocol
from lightning_distill.functional import CompileMode, Parameters, Stateless, count_flops
from lightning_distill.isolation import derive_seed, sandbox
from lightning_distill.networks import create_network
from lightning_distill.spec import DataSpec

Tick = Callable[[], object]


@dataclass(frozen=True)
class TrainingSet:
    """What a student learns from.

    Args:
        pixels: ``(N, C, H, W)`` in pixel units, any dtype, on the CPU.
        labels: ``(N,)`` int64.
        spec: mean and std to normalise by, and the classes.
    """

    pixels: Tensor
    labels: Tensor
    spec: DataSpec


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

    def train(self, data: TrainingSet, seed: int, tick: Tick = lambda: None) -> Student:
        """One student, bit-identical for equal arguments on the CPU. ``tick`` is called after every epoch."""
        with sandbox(derive_seed("student", self.architecture, seed)):
            parameters = self.network.fresh(self.device)
            trainable, hp = self.network.trainable(parameters), self.protocol
            sgd = torch.optim.SGD(trainable, lr=hp.lr, momentum=hp.momentum, weight_decay=hp.weight_decay)
            self.network.train()
            for epoch in range(hp.epochs + 1):
                for rows in torch.randperm(len(data.labels)).split(hp.batch_size):
                    self._step(parameters, sgd, data.pixels[rows], data.labels[rows])
                if epoch == hp.epochs // 2 + 1:
                    sgd.param_groups[0]["lr"] = hp.lr * 0.1
                tick()
        frozen = {name: tensor.detach() for name, tensor in parameters.items()}
        return Student(self.architecture, seed, self.network, frozen, self.bf16)

    def _step(self, parameters: Parameters, sgd: torch.optim.Optimizer, pixels: Tensor, labels: Tensor) -> None:
        x = self.augment.plain(self.spec.normalize(pixels.to(self.device)))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            logits = self.network(parameters, x)
        sgd.zero_grad()
        F.cross_entropy(logits.float(), labels.to(self.device)).backward()
        sgd.step()
