"""Students: fresh networks trained on a set by a plain loop, then asked for predictions."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_distill.augmentation.siamese import SiameseAugmentation
from lightning_distill.evaluation.students.protocol import ProgressCallback, Protocol
from lightning_distill.evaluation.students.vectorized import VectorizedTrainer, can_vectorize, vectorize_error
from lightning_distill.functional.build import build_functional_network
from lightning_distill.functional.compile import CompileMode
from lightning_distill.functional.gradients import optimizer_step
from lightning_distill.functional.network import FunctionalNetwork, Parameters
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.spec import DataSpec
from lightning_distill.utils.precision import warn_if_emulated
from lightning_distill.utils.rng import derive_seed, isolated_rng

ParametersCallback = Callable[[int, Parameters], object]


@dataclass
class Student:
    """A trained network.

    Args:
        architecture: its name.
        seed: of its initial weights, its shuffling and its augmentation.
        offset: ``(K,)`` to be added to its logits, see `priors.prior_offset`; ``None`` adds nothing.
    """

    architecture: str
    seed: int
    network: FunctionalNetwork
    parameters: Parameters
    bf16: bool
    logit_offset: Tensor | None = None

    @torch.no_grad()
    def predict(self, x: Tensor) -> Tensor:
        """Logits ``(B, K)``, float32, of normalised images ``(B, C, H, W)``."""
        self.network.train(False)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.bf16):
            logits = self.network(self.parameters, x)
        return logits.float() if self.logit_offset is None else logits.float() + self.logit_offset.to(logits.device)


class StudentTrainer:
    """Trains students of one architecture; what is compiled is shared by all of them.

    Args:
        architecture: one of our names or timm's.
        spec: channels, image size, number of classes.
        protocol: how they are trained.
        images: in the set they will be trained on.
        students: to come; both decide for ``compile="auto"`` and for static shapes.
        device: where they are trained.
        bf16: forward in bfloat16 under autocast; weights and reductions stay float32.
        compile: see `functional.FunctionalNetwork`.
        together: whether `train_all` trains students at once, see `cohort`; ``None`` does so on CUDA. On the CPU one
            student keeps all cores busy.
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
        self, data: Sequence[LabeledSet], seeds: Sequence[int], on_epoch: ProgressCallback = lambda: None
    ) -> list[Student]:
        """One student for each set and seed, each what `train` makes of them, up to rounding where trained together.

        They are trained in turn where their sets are not `cohort.alike`, and, with a warning, where the network cannot
        be trained together.

        Args:
            data: what each learns from.
            seeds: of each.
            tick: called once for each student and epoch.
        """
        if len(seeds) > 1 and can_vectorize(data) and (cohort := self._vectorized_trainer()) is not None:
            return list(map(self._to_student, seeds, cohort.fit_many(data, seeds, on_epoch)))
        return [self.fit(part, seed, on_epoch) for part, seed in zip(data, seeds, strict=True)]

    def fit(
        self,
        data: LabeledSet,
        seed: int,
        on_epoch: ProgressCallback = lambda: None,
        on_epoch_parameters: ParametersCallback = lambda epoch, parameters: None,
    ) -> Student:
        """One student, bit-identical for equal arguments on the CPU.

        Args:
            data: what it learns from.
            seed: of its initial weights, its shuffling and its augmentation.
            tick: called after every epoch.
            watch: called with 0 and the parameters before the first epoch, with n and the parameters after the n-th.
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
        """Where students are trained together; the first time, whether the network allows it is tried."""
        if self._vectorized and self._vectorized_trainer_cache is None:
            if (reason := vectorize_error(self.network, self.spec.shape, self.device)) is None:
                self._vectorized_trainer_cache = VectorizedTrainer(
                    self.architecture, self.network, self.augment, self.spec, self.protocol, self.device, self.bf16
                )
            else:
                told = f"students of {self.architecture!r} are trained in turn, slower ({reason})"
                warnings.warn(told, stacklevel=3)
                self._vectorized = False
        return self._vectorized_trainer_cache

    def _to_student(self, seed: int, parameters: Parameters) -> Student:
        frozen = {name: tensor.detach() for name, tensor in parameters.items()}
        return Student(self.architecture, seed, self.network, frozen, self.bf16)

    def _step(self, parameters: Parameters, sgd: torch.optim.Optimizer, pixels: Tensor, targets: Tensor) -> None:
        x = self.augment.plain(self.spec.normalize(pixels.to(self.device)))
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            optimizer_step(self.network, parameters, sgd, x, targets.to(self.device))
