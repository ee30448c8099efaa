"""Trajectory matching."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, cast

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from lightning_distill.data import ArrayDataModule
from lightning_distill.distillers.base import Distiller
from lightning_distill.distillers.mtt.experts import ExpertFiles
from lightning_distill.distillers.mtt.inner_loop import StudentTraining
from lightning_distill.distillers.mtt.schedule import (
    draw_batches,
    initial_soft_label_logits,
    validate_window,
    window_end,
)
from lightning_distill.distillers.real_batch import RealBatch
from lightning_distill.functional.network import Parameters
from lightning_distill.functional.unroll import unroll_constant_memory, unroll_stored
from lightning_distill.networks import create_network
from lightning_distill.objectives import trajectory_distance
from lightning_distill.sets.synthetic import SyntheticSet
from lightning_distill.spec import DataSpec
from lightning_distill.utils.rng import derive_seed, isolated_rng

CLAMPED = (
    "the student's learned learning rate fell to {lr:.3g} and was set back to {least:.3g}; if it stays there, lower "
    "lr_lr={rate} or the images' lr"
)


class MTTDistiller(Distiller):
    """MTT: a student that takes a few steps on the set ends where an expert ended after epochs of real data.

    The student's learning rate is learned with the images; it is shipped, and students train with it. The papers run
    5,000 steps on 100 experts of 50 epochs (`lightning-distill experts`, or the callback `ExpertTrajectoryRecorder`).

    Args:
        ipc: images per class, one number or one for each class.
        lr: of the images' SGD. The paper's 1000 saturates the pixels of very small sets; with one image in each of two
            classes try 1 to 100.
        experts: folder of expert trajectories.
        syn_steps: steps of the student (N).
        expert_epochs: epochs of the expert (M).
        min_start: the stretch begins at an epoch drawn from [min_start, max_start).
        max_start: where that window ends; experts need ``max_start + expert_epochs`` epochs.
        max_start_initial: where the window ends at first (DATM); ``None`` does not let it grow.
        grow_steps: after as many steps it ends at ``max_start``.
        batch_syn: synthetic images in a step of the student; ``None`` takes all.
        student_lr: learning rate to begin with; it never falls below a hundredth of this.
        lr_lr: learning rate of the learning rate.
        soft_labels: learn the labels too, beginning with the experts' logits (DATM).
        soft_lr: learning rate of the labels (momentum 0.9).
        constant_memory: one step's graph at a time, the same gradient; see `unroll.constant_memory`.
        options: the rest of `Distiller`'s arguments.

    Reference:
        Cazenavette et al.: Dataset Distillation by Matching Training Trajectories, CVPR 2022, arXiv 2203.11932.
        Guo et al.: Towards Lossless Dataset Distillation via Difficulty-Aligned Trajectory Matching, ICLR 2024,
        arXiv 2310.05773.
    """

    local_path_args: ClassVar[list[str]] = ["experts"]

    def __init__(
        self,
        ipc: int | list[int] = 10,
        lr: float = 1000.0,
        experts: str = "experts",
        syn_steps: int = 20,
        expert_epochs: int = 3,
        min_start: int = 0,
        max_start: int = 25,
        max_start_initial: int | None = None,
        grow_steps: int = 0,
        batch_syn: int | None = None,
        student_lr: float = 0.01,
        lr_lr: float = 1e-5,
        soft_labels: bool = False,
        soft_lr: float = 2.0,
        constant_memory: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(ipc=ipc, lr=lr, **options)
        validate_window(self.hparams)
        self.folder, self._warned = experts, False

    def init_synthetic(self, datamodule: ArrayDataModule) -> SyntheticSet:
        """Images as everywhere, with a learning rate, and with soft labels if asked."""
        hp, spec, synthetic, soft = self.hparams, datamodule.spec, super().init_synthetic(datamodule), None
        if hp["soft_labels"]:
            with isolated_rng(hp["seed"]):
                network = create_network(hp["network"], spec.shape[0], spec.num_classes, spec.shape[1:])
            experts = self._open(dict(network.named_parameters()), spec)
            soft = initial_soft_label_logits(experts, network, synthetic.images, synthetic.targets())
        return synthetic.add_learnables(soft, hp["student_lr"])

    def configure_network(self, datamodule: ArrayDataModule) -> None:
        """Look at the experts before the first step."""
        super().configure_network(datamodule)
        with isolated_rng(self.hparams["seed"]):
            fresh = self.network.init_params()
        weights = {name.removeprefix("network."): fresh[name] for name in fresh if name in self.network.weight_names}
        self.experts = self._open(weights, datamodule.spec)

    def _open(self, weights: Parameters, spec: DataSpec) -> ExpertFiles:
        epochs = self.hparams["max_start"] + self.hparams["expert_epochs"]
        return ExpertFiles(self.folder, self.hparams["network"], weights, spec, epochs)

    def passes(self, datamodule: ArrayDataModule) -> dict[int, int]:
        """The student's steps, and the way back through them."""
        batch = self.hparams["batch_syn"] or len(self.synthetic)
        return {batch: 9 * self.hparams["syn_steps"] * batch}

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Images, the student's learning rate, soft labels."""
        hp, synthetic = self.hparams, self.synthetic
        soft = (
            []
            if synthetic.soft_label_logits is None
            else [{"params": [synthetic.soft_label_logits], "lr": hp["soft_lr"], "momentum": 0.9}]
        )
        return [*super().parameter_groups(), {"params": [synthetic.lr], "lr": hp["lr_lr"]}, *soft]

    def losses(self, real: RealBatch) -> Iterator[Tensor]:
        """One distance, of one stretch of one expert's way; it cannot be split over ranks."""
        hp, synthetic, lr = self.hparams, self.synthetic, cast(Tensor, self.synthetic.lr)
        if self.global_rank > 0:
            return
        buffers = self.network.init_params(self.device)  # its weights are the expert's
        end = window_end(self.global_step, hp["max_start"], hp["max_start_initial"], hp["grow_steps"])
        expert, epoch = int(torch.randint(len(self.experts), ())), int(torch.randint(hp["min_start"], end, ()))
        ways = (self.experts.parameters_at(expert, t, self.device) for t in (epoch, epoch + hp["expert_epochs"]))
        start, target = ([way[name.removeprefix("network.")] for name in self.network.weight_names] for way in ways)
        rows = draw_batches(len(synthetic), hp["batch_syn"] or len(synthetic), hp["syn_steps"])
        seed = derive_seed(hp["seed"], self.global_step)
        steps = StudentTraining(self.network, buffers, synthetic, self.augment, rows, seed)
        unroll = unroll_constant_memory if hp["constant_memory"] else unroll_stored
        yield unroll(steps, lambda end: trajectory_distance(end, start, target), start, lr, hp["syn_steps"])

    def after_step(self, real: RealBatch) -> None:
        """Keep the learning rate above zero: below, students climb instead of descending, and everything blows up."""
        lr, least = cast(Tensor, self.synthetic.lr), self.hparams["student_lr"] / 100
        if lr < least:
            if not self._warned:
                rank_zero_warn(CLAMPED.format(lr=lr.item(), least=least, rate=self.hparams["lr_lr"]))
            self._warned = True
            lr.data.fill_(least)
        self.log("distill/student_lr", lr.detach())
