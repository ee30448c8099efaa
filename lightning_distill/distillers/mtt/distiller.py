"""Trajectory matching."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, cast

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor

from lightning_distill.data import ArrayDataModule
from lightning_distill.distillers._options import MTTOptions, Unpack
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
from lightning_distill.functional.build import create_for_data
from lightning_distill.functional.network import Parameters
from lightning_distill.functional.unroll import unroll_constant_memory, unroll_stored
from lightning_distill.objectives import trajectory_distance
from lightning_distill.sets.synthetic import SyntheticSet
from lightning_distill.spec import DataSpec
from lightning_distill.utils.rng import derive_seed, isolated_rng

CLAMPED = (
    "the student's learned learning rate fell to {lr:.3g} and was set back to {least:.3g}; if it stays there, lower "
    "lr_lr={rate} or the images' lr"
)


class MTTDistiller(Distiller):
    """MTT: match the parameters of a student, after a few steps on the set, to those of an expert after real epochs.

    The student's learning rate is learned with the images and stored with the set. The papers run 5,000 steps on 100
    experts of 50 epochs, from the command ``lightning-distill experts`` or the callback `ExpertTrajectoryRecorder`.

    Args:
        ipc: Images per class, one number or one for each class.
        lr: Learning rate of the SGD optimizer for the synthetic images; ``None`` takes that of the preset, 1000 as
            in the paper. It saturates the pixels of very small sets; with one image in each of two classes try 1 to
            100.
        experts: Folder of the expert trajectories.
        syn_steps: Steps N of the student on the synthetic set.
        expert_epochs: Epochs M of the expert between start and target.
        min_start: First epoch of the window [min_start, max_start) from which the start epoch is drawn.
        max_start: End of the window of start epochs; experts need ``max_start + expert_epochs`` epochs.
        max_start_initial: Initial end of the window of start epochs (DATM); ``None`` keeps the window constant.
        grow_steps: Number of image steps after which the growing window ends at ``max_start``.
        batch_syn: Number of synthetic images in a step of the student; ``None`` takes all.
        student_lr: Initial learning rate of the student; the learned rate is kept above a hundredth of it.
        lr_lr: Learning rate of the student's learning rate.
        soft_labels: Whether to learn the labels too, initialised with the experts' logits (DATM).
        soft_lr: Learning rate of the soft labels (momentum 0.9).
        constant_memory: Whether to keep the graph of one student step at a time, with the same gradient; see
            `functional.unroll.unroll_constant_memory`.
        options: Other arguments of `Distiller`.

    Raises:
        ValueError: The window of start epochs is not valid, or an expert is damaged or does not fit network or data.
        FileNotFoundError: The folder has no experts.

    Example:
        >>> MTTDistiller(ipc=1, experts="experts", network="convnet_w16").syn_steps
        20

    Reference:
        Cazenavette et al.: Dataset Distillation by Matching Training Trajectories, CVPR 2022, arXiv 2203.11932.
        Guo et al.: Towards Lossless Dataset Distillation via Difficulty-Aligned Trajectory Matching, ICLR 2024,
        arXiv 2310.05773.
    """

    local_path_args: ClassVar[list[str]] = ["experts"]

    def __init__(
        self,
        ipc: int | list[int] = 10,
        *,
        lr: float | None = None,
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
        **options: Unpack[MTTOptions],
    ) -> None:
        super().__init__(ipc=ipc, lr=lr, **options)
        validate_window(self.hparams)
        self.experts_folder = experts
        self.syn_steps, self.expert_epochs, self.batch_syn = syn_steps, expert_epochs, batch_syn
        self.min_start, self.max_start = min_start, max_start
        self.max_start_initial, self.grow_steps = max_start_initial, grow_steps
        self.student_lr, self.lr_lr, self.soft_labels, self.soft_lr = student_lr, lr_lr, soft_labels, soft_lr
        self.constant_memory = constant_memory
        self._warned = False

    def init_synthetic(self, datamodule: ArrayDataModule) -> SyntheticSet:
        """Return the initial set with a learning rate, and with soft labels where they are learned."""
        spec, synthetic, logits = datamodule.spec, super().init_synthetic(datamodule), None
        if self.soft_labels:
            with isolated_rng(self.seed):
                network = create_for_data(self.network_name, spec)
            experts = self._open_experts(dict(network.named_parameters()), spec)
            logits = initial_soft_label_logits(experts, network, synthetic.decoded(), synthetic.targets())
        return synthetic.add_learnables(logits, self.student_lr)

    def configure_network(self, datamodule: ArrayDataModule, batch_sizes: Sequence[int] | None = None) -> None:
        """Build the network, and check the experts before the first step."""
        super().configure_network(datamodule, batch_sizes or [self.batch_syn or sum(self.synthetic.counts)])
        with isolated_rng(self.seed):
            initial = self.network.init_params()
        weights = {name.removeprefix("network."): initial[name] for name in self.network.weight_names}
        self.experts = self._open_experts(weights, datamodule.spec)

    def _open_experts(self, weights: Parameters, spec: DataSpec) -> ExpertFiles:
        return ExpertFiles(self.experts_folder, self.network_name, weights, spec, self.max_start + self.expert_epochs)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the images, the student's learning rate, and the soft labels if there are any."""
        logits, groups = self.synthetic.soft_label_logits, super().parameter_groups()
        groups.append({"params": [self.synthetic.lr], "lr": self.lr_lr})
        if logits is not None:
            groups.append({"params": [logits], "lr": self.soft_lr, "momentum": 0.9})
        return groups

    @property
    def set_passes(self) -> int:
        """Passes of the set in a step: one for each step of the student, twice differentiated."""
        return 2 * self.syn_steps

    def losses(self, real: RealBatch) -> Iterator[Tensor]:
        """Yield one distance, for one segment of one expert's trajectory; only rank 0 computes it."""
        if self.global_rank > 0:
            return
        buffers = self.network.init_params(self.device)  # the weights are replaced by the expert's
        end = window_end(self.global_step, self.max_start, self.max_start_initial, self.grow_steps)
        expert, epoch = int(torch.randint(len(self.experts), ())), int(torch.randint(self.min_start, end, ()))
        yield self.segment_loss(expert, epoch, self._student_training(buffers))

    def segment_loss(self, expert: int, epoch: int, training: StudentTraining) -> Tensor:
        """Return the loss of a student that starts at an epoch of an expert, differentiable by images and labels.

        Args:
            expert: Number of the expert.
            epoch: Epoch of the expert at which the student starts.
            training: Steps of the student on the set.
        """
        start, target = (self.expert_weights(expert, t) for t in (epoch, epoch + self.expert_epochs))
        unroll, lr = unroll_constant_memory if self.constant_memory else unroll_stored, cast(Tensor, self.synthetic.lr)
        return unroll(training, lambda end: trajectory_distance(end, start, target), start, lr, self.syn_steps)

    def expert_weights(self, expert: int, epoch: int) -> list[Tensor]:
        """Return the weights of an expert after an epoch, in the order of the network's weights."""
        parameters = self.experts.parameters_at(expert, epoch, self.device)
        return [parameters[name.removeprefix("network.")] for name in self.network.weight_names]

    def _student_training(self, buffers: Parameters) -> StudentTraining:
        images = sum(self.synthetic.counts)
        rows = draw_batches(images, self.batch_syn or images, self.syn_steps)
        seed = derive_seed(self.seed, self.global_step)
        return StudentTraining(self.network, buffers, self.synthetic, self.augment, rows, seed)

    def after_step(self, real: RealBatch) -> None:
        """Keep the learning rate of the student positive: below zero its steps ascend and diverge."""
        lr, least = cast(Tensor, self.synthetic.lr), self.student_lr / 100
        if lr < least:
            if not self._warned:
                rank_zero_warn(CLAMPED.format(lr=lr.item(), least=least, rate=self.lr_lr))
            self._warned = True
            lr.data.fill_(least)
        self.log("distill/student_lr", lr.detach())
