"""Soft labels for a set or for picked images, from teachers trained on the real data."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import torch

from lightning_distill.evaluation.baselines import full_data
from lightning_distill.evaluation.candidates import EvaluationData
from lightning_distill.evaluation.label_prior import Prior, check_label_options, class_frequencies, prior_logit_offset
from lightning_distill.evaluation.students.protocol import Protocol
from lightning_distill.evaluation.teacher_file import load_teachers
from lightning_distill.evaluation.teachers import TeacherEnsemble, TeacherOptions, teacher_epochs, train_teachers
from lightning_distill.functional.compile import CompileMode
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.sets.same_data import check_same_data
from lightning_distill.utils.progress import ProgressCallback

if TYPE_CHECKING:
    from typing_extensions import Unpack

#: Way out where set, teachers and data do not belong together.
SAME_TEACHERS = "use teachers of the data that the set was made from"
#: Number of teachers to train, a file of trained teachers, or trained teachers.
Teachers = int | str | os.PathLike[str] | TeacherEnsemble


def relabel(
    labeled_set: LabeledSet,
    data: EvaluationData | None = None,
    *,
    teachers: Teachers = 3,
    network: str = "convnet",
    protocol: str | Protocol = "quick",
    views: int = 16,
    prior: Prior = "natural",
    seed: int = 0,
    device: torch.device | str = "cpu",
    bf16: bool = False,
    compile: CompileMode = "auto",
    on_epoch: ProgressCallback = lambda: None,
) -> tuple[LabeledSet, dict[str, object]]:
    """Give every image of a set a soft label by teachers that were trained on the real data.

    Pixels and hard labels are kept; soft labels that the set has are replaced. The label of an image is the mean
    probability over teachers and augmented views, see `TeacherEnsemble.label`. Students are trained on it by
    cross-entropy with probabilities, for multi-label data by binary cross-entropy.

    Args:
        labeled_set: Distilled set, or picked real images.
        data: Data module with the real images that the set was made from. Not needed for trained teachers.
        teachers: Number of teachers to train on ``data``, a file written by `save_teachers`, or a `TeacherEnsemble`.
        network: Name of the teachers' network, of this package or of timm.
        protocol: Training protocol of the teachers: ``reference``, ``quick`` or ``tiny`` (for tests).
        views: Number of augmented views of each image; 0 takes the image itself.
        prior: Class frequencies of the labels: ``natural`` (those of the real training data), or ``balanced`` (equal
            ones, so that balanced accuracy does not fall where accuracy rises).
        seed: Seed of the teachers and of the views.
        device: Device to compute on.
        bf16: Whether the teachers' training runs in bfloat16. Labels are computed in float32.
        compile: Mode of ``torch.compile`` for the training of the teachers.
        on_epoch: Function called after every epoch of every teacher.

    Returns:
        The set with ``soft_labels``, one for each decoded image, and a plain record for the key ``soft_labels`` of its
        card.

    Raises:
        FileNotFoundError: The teacher file does not exist.
        ValueError: The teachers are not better than chance, or were trained on data of other classes, image shape,
            task or pixel range than the set.

    Example:
        >>> from lightning_distill import DigitsDataModule, relabel
        >>> from lightning_distill.sets.storage import read_set
        >>> labeled_set, card = read_set("runs/digits/best")  # doctest: +SKIP
        >>> soft, record = relabel(labeled_set, DigitsDataModule(), prior="balanced")  # doctest: +SKIP

    Reference:
        Qin et al.: A Label is Worth a Thousand Images in Dataset Distillation, arXiv 2406.10485.
    """
    if data is not None:
        check_same_data(labeled_set.spec, data.spec, "the set", data.spec.name, SAME_TEACHERS)
    ensemble = get_teachers(
        teachers,
        data,
        views=views,
        prior=prior,
        network=network,
        protocol=protocol,
        seed=seed,
        device=device,
        bf16=bf16,
        compile=compile,
        on_epoch=on_epoch,
    )
    check_same_data(labeled_set.spec, ensemble.spec, "the set", "the teachers' data", SAME_TEACHERS)
    images = labeled_set.decode().pixels
    soft_labels = ensemble.label(images, views=views, prior=prior, seed=seed, device=device)
    return replace(labeled_set, soft_labels=soft_labels), soft_label_record(ensemble, views, prior)


def get_teachers(
    teachers: Teachers,
    data: EvaluationData | None,
    *,
    views: int = 16,
    prior: Prior = "natural",
    on_start: Callable[[str, int], ProgressCallback] | None = None,
    **options: Unpack[TeacherOptions],
) -> TeacherEnsemble:
    """Return trained teachers: train them, read them from a file, or return them as they are.

    Args:
        teachers: Number of teachers, file, or `TeacherEnsemble`.
        data: Data module with the real images; required if teachers are trained.
        views: Number of views of the labels; checked before the training.
        prior: Prior of the labels; checked before the training.
        on_start: Function called before a training with its description and number of epochs. It returns a function
            that is called after each epoch.
        **options: Options of `train_teachers` for teachers that are trained.

    Raises:
        FileNotFoundError: The file does not exist.
        ValueError: There are no data to train on, the teachers are not better than chance, they were trained on other
            data than ``data``, or an option of the labels is invalid.
    """
    check_label_options(prior, views)
    if isinstance(teachers, str) and teachers.isdecimal():
        teachers = int(teachers)
    if isinstance(teachers, int):
        if data is None:
            raise ValueError(f"teachers={teachers} need real data to train on; give --data, or a file of teachers")
        prior_logit_offset(class_frequencies(full_data(data.all_train_arrays(), data.spec)(0)), prior, data.spec)
        if on_start is not None:
            epochs = teacher_epochs(data, teachers, options.get("protocol", "quick"))
            options["on_epoch"] = on_start(f"{teachers} teachers", epochs)
        return train_teachers(data, teachers, **options)
    ensemble = teachers if isinstance(teachers, TeacherEnsemble) else load_teachers(teachers)
    if data is not None:
        check_same_data(ensemble.spec, data.spec, "the teachers' data", data.spec.name, SAME_TEACHERS)
    return ensemble


def soft_label_record(teachers: TeacherEnsemble, views: int, prior: Prior) -> dict[str, object]:
    """Return the plain record of soft labels for the card: teachers, temperature, views and prior."""
    return {**teachers.record, "views": views, "prior": prior}


def soft_sampler(
    sampler: Callable[[int], LabeledSet],
    teachers: TeacherEnsemble,
    *,
    views: int = 16,
    prior: Prior = "natural",
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> Callable[[int], LabeledSet]:
    """Relabel the training set of each student, such as a coreset. Each set is labelled once.

    Args:
        sampler: Function from the student number to its training set.
        teachers: Trained teachers.
        views: Number of augmented views.
        prior: Prior of the labels.
        seed: Seed of the views.
        device: Device to compute on.
    """

    @cache
    def sample(student: int) -> LabeledSet:
        options = {"teachers": teachers, "views": views, "prior": prior, "seed": seed, "device": device}
        return relabel(sampler(student), **options)[0]  # type: ignore[arg-type]

    return sample


def record_text(record: Mapping[str, object]) -> str:
    """Describe a record in one line, such as ``3 teachers (convnet, quick), temperature 1.31, prior natural``."""
    return (
        f"{record['teachers']} teachers ({record['network']}, {record['protocol']}), "
        f"temperature {record['temperature']}, {record['views']} views, prior {record['prior']}"
    )
