"""Soft labels of a portfolio: teachers that label every candidate, its start and the picks alike."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from lightning_distill.data import ArrayDataModule
from lightning_distill.evaluation.label_prior import Prior
from lightning_distill.evaluation.relabel import get_teachers, relabel
from lightning_distill.evaluation.teacher_file import save_teachers
from lightning_distill.evaluation.teachers import TeacherEnsemble, TeacherOptions
from lightning_distill.sets.card import relabelled_card
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.sets.storage import Card

if TYPE_CHECKING:
    from typing_extensions import Unpack

#: File of the trained teachers in the folder of a run. It is not part of the set.
TEACHERS = "teachers.safetensors"


class SoftLabels:
    """Labels of trained teachers.

    Args:
        teachers: Trained teachers.
        prior: Class frequencies of the labels: ``natural`` or ``balanced``.
        device: Device to compute on.
    """

    def __init__(self, teachers: TeacherEnsemble, prior: Prior, device: str) -> None:
        self.teachers, self.prior, self.device = teachers, prior, device

    @classmethod
    def of_run(
        cls,
        folder: Path,
        teachers: int | str | os.PathLike[str],
        data: ArrayDataModule,
        *,
        prior: Prior,
        **options: Unpack[TeacherOptions],
    ) -> SoftLabels:
        """Read the teachers of a run, or train them on the real data and keep them in its folder.

        Args:
            folder: Folder of the run.
            teachers: Number of teachers, or a file of trained ones.
            data: Real data.
            prior: Class frequencies of the labels.
            options: Options of `train_teachers` for teachers that are trained.

        Raises:
            ValueError: The teachers are not better than chance, or belong to other data.
            FileNotFoundError: The file of teachers does not exist.
        """
        kept = folder / TEACHERS
        source = str(kept) if kept.is_file() else teachers
        ensemble = get_teachers(source, data, prior=prior, **options)
        folder.mkdir(parents=True, exist_ok=True)
        if not kept.is_file():
            save_teachers(kept, ensemble)
        return cls(ensemble, prior, str(options.get("device", "cpu")))

    def __call__(self, labeled_set: LabeledSet) -> LabeledSet:
        """Return a set with soft labels."""
        return self._relabel(labeled_set)[0]

    def with_card(self, labeled_set: LabeledSet, card: Card) -> tuple[LabeledSet, Card]:
        """Return a set with soft labels, and its card with their record."""
        labelled, record = self._relabel(labeled_set)
        return labelled, relabelled_card(card, record)

    def _relabel(self, labeled_set: LabeledSet) -> tuple[LabeledSet, dict[str, object]]:
        return relabel(labeled_set, teachers=self.teachers, prior=self.prior, device=self.device)
