"""Labels of an exported set: hard ones, or soft ones by networks that are trained before the distillation."""

from __future__ import annotations

from typing import Literal

import torch
from lightning import Trainer
from lightning.pytorch.utilities import rank_zero_info

from lightning_distill.data import ArrayDataModule
from lightning_distill.distillers import Distiller
from lightning_distill.evaluation.label_prior import Prior, check_label_options
from lightning_distill.evaluation.relabel import get_teachers, record_text, relabel
from lightning_distill.evaluation.students.protocol import get_protocol
from lightning_distill.evaluation.teachers import TeacherEnsemble
from lightning_distill.sets.card import relabelled_card
from lightning_distill.sets.labeled_set import LabeledSet
from lightning_distill.sets.storage import Card


class ExportLabels:
    """Labels of an exported set.

    Args:
        kind: ``hard``, or ``soft`` for labels by teachers.
        teachers: Number of teachers to train, or a file written by `save_teachers`.
        prior: Class frequencies of the soft labels: ``natural`` or ``balanced``.
        protocol: Training protocol of the teachers.

    Raises:
        ValueError: A name is unknown.
    """

    def __init__(self, kind: Literal["hard", "soft"], teachers: int | str, prior: Prior, protocol: str) -> None:
        if kind not in ("hard", "soft"):
            raise ValueError(f"unknown labels {kind!r}; use 'hard' or 'soft'")
        check_label_options(prior)
        get_protocol(protocol)
        self.kind, self.teachers, self.prior, self.protocol = kind, teachers, prior, protocol
        self._ensemble: TeacherEnsemble | None = None

    def check(self, trainer: Trainer) -> None:
        """Raise a ValueError if soft labels are wanted and there are no data to train teachers on."""
        if self.kind == "soft" and not isinstance(_datamodule(trainer), ArrayDataModule):
            raise ValueError("labels='soft' needs trainer.fit(..., datamodule=...) with an ArrayDataModule")

    def prepare(self, trainer: Trainer, pl_module: Distiller) -> None:
        """Train or read the teachers before the distillation, so that bad ones end the run early."""
        if self.kind == "hard":
            return
        datamodule = _datamodule(trainer)
        assert isinstance(datamodule, ArrayDataModule)
        count = self.teachers if isinstance(self.teachers, int) else "of a file"
        rank_zero_info(f"Teachers of the soft labels: {count}, {self.protocol} protocol")
        self._ensemble = get_teachers(
            self.teachers,
            datamodule,
            prior=self.prior,
            network=pl_module.network_name,
            protocol=self.protocol,
            seed=pl_module.seed,
            device=pl_module.device,
            bf16="bf16" in str(trainer.precision),
            compile=pl_module.compile_mode,
        )

    def give(self, labeled_set: LabeledSet, device: torch.device) -> LabeledSet:
        """Return a set with labels of this kind."""
        if self._ensemble is None:
            return labeled_set
        return relabel(labeled_set, teachers=self._ensemble, prior=self.prior, device=device)[0]

    def export(self, labeled_set: LabeledSet, card: Card, device: torch.device) -> tuple[LabeledSet, Card] | None:
        """Return a set with soft labels and its card; ``None`` for hard labels, which it has."""
        if self._ensemble is None:
            return None
        soft, record = relabel(labeled_set, teachers=self._ensemble, prior=self.prior, device=device)
        rank_zero_info(f"Labels of the exported set: {record_text(record)}")
        return soft, relabelled_card(card, record)


def _datamodule(trainer: Trainer) -> object:
    return trainer.datamodule  # type: ignore[attr-defined]
