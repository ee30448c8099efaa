"""Train students, freshly initialised networks, on a set."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_distill.augmentation.siamese import SiameseAugmentation
from lightning_distill.evaluation.students.protocol import Protocol
from lightning_distill.evaluation.students.vectorized import VectorizedTrainer, can_vectorize, vectorize_error
from lightning_distill.functional.build import build_functional_network
from lightning_distill.functional.compile import CompileMode
from lightning_distill.functional.gradients import optimizer_step
from lightning_distill.functional.network import FunctionalNetwork, Parameters
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.spec import DataSpec
from lightning_distill.utils.precision import warn_if_emulated
from lightning_distill.utils.progress import ProgressCallback
from lightning_distill.utils.rng import derive_seed, isolated_rng

#: Function that is called with the number of epochs so far and the parameters.
ParametersCallback = Callable[[int, Parameters], object]


@dataclass
class Student:
    """A trained network.

    Args:
        architecture: Name of the network.
        seed: Seed of the initial weights, the shuffling and the augmentation.
        network: Network without parameters, shared by the students of one `StudentTrainer`.
        parameters: Trained parameters by name.
        bf16: Whether to run the forward pass in bfloat16.
        logit_offset: Offset ``(K,)`` that is added to the logits, see `prior_correction.prior_offset`; default: none.
    """

    architecture: str
    seed: int
    network: FunctionalNetwork
    parameters: Parameters
    bf16: bool
    logit_offset: Tensor | None = None

    @torch.no_grad()
    def predict(self, x: Tensor) -> Tensor:
        """Return logits ``(B, K)`` float32 for normalised images ``(B, C, H, W)``."""
        self.network.train(False)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.bf16):
            logits = self.network(self.parameters, x)
        return logits.float() if self.logit_offset is None else logits.float() + self.logit_offset.to(logits.device)


class StudentTrainer:
    """Trainer of students of one architecture, which share one compiled network.

    Args:
        architecture: Name of a network in this package or in timm.
        spec: Channels, image size and classes of the data, and the mean and std to normalise by.
        protocol: Training protocol.
        images: Number of images in the set; with ``students`` it decides whether ``compile="auto"`` compiles.
        students: Number of students that will be trained.
        device: Device to train on.
        bf16: Whether to run the forward pass in bfloat16 under autocast; weights and reductions stay float32.
        compile: When to compile the network, see `functional.FunctionalNetwork`.
        vectorized: Whether `fit_many` trains several students in one step, see `vectorized`; default: on CUDA only. On
            the CPU a single student uses all cores.

    Example:
        >>> spec = DataSpec("example", (1, 8, 8), ("a", "b"), (0.0,), (1.0,))
        >>> data = LabeledSet(torch.rand(4, 1, 8, 8), torch.tensor([0, 0, 1, 1]), spec)
        >>> trainer = StudentTrainer("convnet_w16", spec, protocol=Protocol("short", 1), images=4, students=1)
        >>> trainer.fit(data, seed=0).predict(torch.rand(3, 1, 8, 8)).shape
        torch.Size([3, 2])
    """

    def __init__(
        self,
        architecture: str,
        spec: DataSpec,
        *,
        protocol: Protocol,
        images: int,
        students: int,
        device: torch.device | str = "cpu",
        bf16: bool = False,
        compile: CompileMode = "auto",
        vectorized: bool | None = None,
    ) -> None:
        self.architecture, self.spec, self.protocol = architecture, spec, protocol
        self.device, self.bf16 = torch.device(device), bf16
        if bf16:
            warn_if_emulated(device)
        passes = 3.0 * images * students * (protocol.epochs + 1)
        sizes = (min(images, protocol.batch_size), protocol.batch_size)
        self.network = build_functional_network(architecture, spec, passes, self.device, compile, sizes)
        self.augment = SiameseAugmentation(protocol.augmentation or spec.augmentation, spec.shape[1:])
        self._vectorized = self.device.type == "cuda" if vectorized is None else vectorized
        self._vectorized_trainer_cache: VectorizedTrainer | None = None

    def fit_many(
        self, data: Sequence[LabeledSet], seeds: Sequence[int], *, on_epoch: ProgressCallback = lambda: None
    ) -> list[Student]:
        """Train one student on each set. The results equal those of `fit`, up to rounding if vectorized.

        Students are trained one after the other if their sets cannot be vectorized (`can_vectorize`) and, with a
        warning, if the network cannot.

        Args:
            data: Training set of each student.
            seeds: Seed of each student.
            on_epoch: Function that is called once for each student and epoch.
        """
        if len(seeds) > 1 and can_vectorize(data) and (vectorized := self._vectorized_trainer()) is not None:
            return list(map(self._to_student, seeds, vectorized.fit_many(data, seeds, on_epoch)))
        return [self.fit(part, seed, on_epoch=on_epoch) for part, seed in zip(data, seeds, strict=True)]

    def fit(
        self,
        data: LabeledSet,
        seed: int,
        *,
        on_epoch: ProgressCallback = lambda: None,
        on_epoch_parameters:
        #: Function that is called with the number of epochs so far and the parameters.
        ParametersCallback = lambda epoch, parameters: None,
    ) -> Student:
        """Train one student; equal arguments give bit-identical parameters on the CPU.

        Args:
            data: Training set.
            seed: Seed of the initial weights, the shuffling and the augmentation.
            on_epoch: Function that is called after every epoch.
            on_epoch_parameters: Function that is called with 0 and the parameters before the first epoch, and with n
                and the parameters after epoch n.
        """
        with isolated_rng(derive_seed("student", self.architecture, seed)):
            parameters = self.network.init_params(self.device)
            trainable, hp = self.network.require_grad(parameters), self.protocol
            sgd = torch.optim.SGD(trainable, hp.lr, momentum=hp.momentum, weight_decay=hp.weight_decay)
            self.network.train()
            on_epoch_parameters(0, parameters)
            for epoch in range(hp.epochs + 1):
                sgd.param_groups[0]["lr"] = hp.lr_at(epoch, data.lr)
                for rows in torch.randperm(len(data.labels)).split(hp.batch_size):
                    self._step(parameters, sgd, data.pixels[rows], data.targets[rows])
                on_epoch()
                on_epoch_parameters(epoch + 1, parameters)
        return self._to_student(seed, parameters)

    def _vectorized_trainer(self) -> VectorizedTrainer | None:
        """Return the vectorized trainer, or ``None``; the first call tries whether the network can be vectorized."""
        if self._vectorized and self._vectorized_trainer_cache is None:
            if (reason := vectorize_error(self.network, self.spec.shape, self.device)) is None:
                self._vectorized_trainer_cache = VectorizedTrainer(
                    architecture=self.architecture,
                    network=self.network,
                    augment=self.augment,
                    spec=self.spec,
                    protocol=self.protocol,
                    device=self.device,
                    bf16=self.bf16,
                )
            else:
                message = f"students of {self.architecture!r} are trained in turn, slower ({reason})"
                warnings.warn(message, stacklevel=3)
                self._vectorized = False
        return self._vectorized_trainer_cache

    def _to_student(self, seed: int, parameters: Parameters) -> Student:
        frozen = {name: tensor.detach() for name, tensor in parameters.items()}
        return Student(self.architecture, seed, self.network, frozen, self.bf16)

    def _step(self, parameters: Parameters, sgd: torch.optim.Optimizer, pixels: Tensor, targets: Tensor) -> None:
        x = self.augment.plain(self.spec.normalize(pixels.to(self.device)))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            optimizer_step(self.network, parameters, sgd, x, targets.to(self.device))
