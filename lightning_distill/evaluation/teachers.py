"""Teachers: networks trained on the real training data that give images soft labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypedDict

import torch
from torch import Tensor

from lightning_distill.augmentation.presets import PRESETS
from lightning_distill.augmentation.siamese import SiameseAugmentation
from lightning_distill.evaluation.baselines import full_data
from lightning_distill.evaluation.candidates import EvaluationData
from lightning_distill.evaluation.label_prior import Prior, check_label_options, class_frequencies, prior_logit_offset
from lightning_distill.evaluation.metrics.calibration import temperature_of_labels
from lightning_distill.evaluation.metrics.classification import class_probabilities, compute_metrics
from lightning_distill.evaluation.metrics.registry import METRICS
from lightning_distill.evaluation.metrics.relative import chance
from lightning_distill.evaluation.students.protocol import Protocol, get_protocol
from lightning_distill.evaluation.students.trainer import StudentTrainer
from lightning_distill.functional.build import build_functional_network
from lightning_distill.functional.compile import CompileMode
from lightning_distill.functional.network import FunctionalNetwork, Parameters
from lightning_distill.networks import check_network
from lightning_distill.spec import DataSpec
from lightning_distill.utils.progress import ProgressCallback
from lightning_distill.utils.rng import derive_seed, isolated_rng

#: Number of images in a forward pass of the teachers.
BATCH_SIZE = 256


class TeacherOptions(TypedDict, total=False):
    """Options of `train_teachers`, which documents them."""

    network: str
    protocol: str | Protocol
    seed: int
    device: torch.device | str
    bf16: bool
    compile: CompileMode
    on_epoch: ProgressCallback


@dataclass(frozen=True)
class TeacherEnsemble:
    """Networks trained on the real training images of one data set. `label` gives images their soft labels.

    Args:
        spec: Specification of the data that the teachers were trained on.
        network: Name of the network, of this package or of timm.
        parameters: Trained parameters of each teacher by name.
        temperature: Temperature T that divides all logits, fitted on the validation split.
        frequencies: Fraction ``(K,)`` float64 of training images in each class; for multi-label data, with each label.
        augmentation: Name of the augmentation preset of the views.
        record: Plain data about the training, for cards: data, protocol, epochs, seed and validation scores.

    Example:
        >>> from lightning_distill import DigitsDataModule
        >>> teachers = train_teachers(DigitsDataModule(), 3, protocol="quick")  # doctest: +SKIP
        >>> teachers.label(torch.zeros(2, 1, 8, 8)).shape  # doctest: +SKIP
        torch.Size([2, 10])
    """

    spec: DataSpec
    network: str
    parameters: Sequence[Parameters]
    temperature: float
    frequencies: Tensor
    augmentation: str
    record: Mapping[str, object] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of teachers."""
        return len(self.parameters)

    @torch.no_grad()
    def label(
        self,
        images: Tensor,
        *,
        views: int = 16,
        prior: Prior = "natural",
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        r"""Return the soft labels of images: mean probabilities over teachers m and augmented views v.

        .. math:: p(x) = \frac{1}{MV} \sum_{m,v} \operatorname{softmax}(f_m(A_v(x)) / T + o)

        with the sigmoid instead of the softmax for multi-label data, one probability for each label. View v applies one
        transformation, drawn from ``seed``, to all images, so the label of an image does not depend on the other
        images. The offset o is zero for ``prior="natural"``, see `prior_logit_offset`.

        Args:
            images: Images ``(N, C, H, W)`` in pixel units, any dtype.
            views: Number of augmented views V; 0 takes the images without augmentation.
            prior: Class frequencies that the probabilities assume: ``natural`` (those of the training data) or
                ``balanced`` (equal ones).
            seed: Seed of the views.
            device: Device to compute on.

        Returns:
            Probabilities ``(N, K)`` float32 on the CPU.

        Raises:
            ValueError: The images have another shape, ``views`` is negative, ``prior`` is unknown, or ``balanced`` is
                not defined because a class has no training image.

        Reference:
            Menon et al.: Long-Tail Learning via Logit Adjustment, arXiv 2007.07314.
        """
        check_label_options(prior, views)
        if tuple(images.shape[1:]) != self.spec.shape:
            shape = tuple(images.shape[1:])
            raise ValueError(f"images are {shape}, the teachers were trained on {self.spec.shape} (C, H, W)")
        views = views if PRESETS[self.augmentation] else 0  # a preset without operations gives equal views
        offset = prior_logit_offset(self.frequencies, prior, self.spec).to(device)
        augment = SiameseAugmentation(self.augmentation, self.spec.shape[1:])
        seeds = [derive_seed("view", seed, view) for view in range(views)]
        network = _inference_network(self.network, self.spec, torch.device(device))
        parameters = [{name: value.to(device) for name, value in own.items()} for own in self.parameters]
        labels = []
        with isolated_rng(0), torch.no_grad():
            for chunk in images.split(BATCH_SIZE):
                x = self.spec.normalize(chunk.to(device))
                total = torch.zeros(len(x), self.spec.num_classes, dtype=torch.float64)
                for viewed in [augment.of_classes(x, [len(x)], [own]) for own in seeds] or [x]:
                    for own in parameters:
                        logits = network(own, viewed).float() / self.temperature + offset
                        total += class_probabilities(logits, self.spec).double().cpu()
                labels.append(total / (len(parameters) * max(views, 1)))
        return torch.cat(labels).float()


def train_teachers(
    data: EvaluationData,
    teachers: int = 3,
    *,
    network: str = "convnet",
    protocol: str | Protocol = "quick",
    seed: int = 0,
    device: torch.device | str = "cpu",
    bf16: bool = False,
    compile: CompileMode = "auto",
    on_epoch: ProgressCallback = lambda: None,
) -> TeacherEnsemble:
    """Train networks on all real training images and fit their temperature on the validation split.

    The initial weights differ from those of all evaluated students. One temperature minimises the mean negative
    log-likelihood of all teachers on val, see `temperature_of_labels`. No test image is used.

    Args:
        data: Data module with the real images.
        teachers: Number of teachers.
        network: Name of the network, of this package or of timm.
        protocol: Training protocol: ``reference``, ``quick`` or ``tiny`` (for tests), shortened by
            `Protocol.for_real_data`.
        seed: Seed of the first teacher; the others are derived from it.
        device: Device to train on.
        bf16: Whether the forward pass of the training runs in bfloat16.
        compile: Mode of ``torch.compile``: ``auto``, ``off`` or ``max``.
        on_epoch: Function called after every epoch of every teacher, see `teacher_epochs`.

    Raises:
        ValueError: There is less than one teacher, the network or protocol is unknown, or a teacher is not better than
            chance on val.
    """
    if teachers < 1:
        raise ValueError(f"teachers={teachers}; soft labels need at least one teacher")
    check_network(network)
    spec, whole = data.spec, full_data(data.all_train_arrays(), data.spec)(0)
    used = get_protocol(protocol).for_real_data(len(whole.labels))
    trainer = StudentTrainer(
        network,
        spec,
        protocol=used,
        images=len(whole.labels),
        students=teachers,
        device=device,
        bf16=bf16,
        compile=compile,
    )
    seeds = [derive_seed("teacher", seed, number) for number in range(teachers)]
    parameters = [student.parameters for student in trainer.fit_many([whole] * teachers, seeds, on_epoch=on_epoch)]
    logits, targets = _predict(network, parameters, data, torch.device(device))
    scores = [_score(own, targets, spec, network, number) for number, own in enumerate(logits, 1)]
    value = temperature_of_labels(logits, targets, spec)
    record = {"data": spec.name, "network": network, "protocol": used.name, "epochs": used.epochs + 1, "seed": seed}
    return TeacherEnsemble(
        spec=spec,
        network=network,
        parameters=[{name: tensor.cpu() for name, tensor in own.items()} for own in parameters],
        temperature=value,
        frequencies=class_frequencies(whole),
        augmentation=used.augmentation or spec.augmentation,
        record={"teachers": teachers, **record, "temperature": round(value, 4), f"val_{_score_name(spec)}": scores},
    )


def teacher_epochs(data: EvaluationData, teachers: int, protocol: str | Protocol) -> int:
    """Return the epochs of all teachers together: the number of calls of ``on_epoch`` in `train_teachers`."""
    used = get_protocol(protocol).for_real_data(len(data.all_train_arrays()[1]))
    return teachers * (used.epochs + 1)


def _inference_network(name: str, spec: DataSpec, device: torch.device) -> FunctionalNetwork:
    network = build_functional_network(name, spec, 0.0, device, "off", (BATCH_SIZE,))
    network.train(False)
    return network


def _predict(
    name: str, parameters: Sequence[Parameters], data: EvaluationData, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return the logits ``(M, N, K)`` of M teachers on val, and the targets."""
    network = _inference_network(name, data.spec, device)
    logits, targets = [], []
    with torch.no_grad():
        for x, y in data.val_dataloader():
            images = data.spec.normalize(x.to(device))
            logits.append(torch.stack([network(own, images).float().cpu() for own in parameters]))
            targets.append(y.cpu() if data.spec.multi_label else y.cpu().flatten())
    return torch.cat(logits, 1), torch.cat(targets).long()


def _score(logits: Tensor, targets: Tensor, spec: DataSpec, network: str, number: int) -> float:
    """Return the score of a teacher on val (`_score_name`), rounded.

    Raises:
        ValueError: It is not above chance, or the logits are not finite.
    """
    name, finite = _score_name(spec), bool(logits.isfinite().all())
    if not spec.multi_label and len(targets.unique()) < 2:
        raise ValueError(
            f"the {len(targets)} validation images are of one class, which tells no teacher from chance; take more "
            "validation images (--data.val_fraction)"
        )
    level = chance(name, targets, spec)
    score = compute_metrics(logits, targets, spec)[name] if finite else level
    if score <= level + 1e-9:  # a mean of K recalls rounds
        state = f"has {METRICS[name].label} {score:.3f} on val, chance is {level:.3f}" if finite else "diverged"
        raise ValueError(
            f"teacher {number} ({network}) {state}: its labels would be noise; use a longer protocol "
            "(--protocol reference) or another --network, or check the labels of the data"
        )
    return round(score, 4)


def _score_name(spec: DataSpec) -> str:
    """Return ``balanced_acc``; for multi-label data ``auroc``, as rare labels are seldom predicted above one half."""
    return "auroc" if spec.multi_label else "balanced_acc"
