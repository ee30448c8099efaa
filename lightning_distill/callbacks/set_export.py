"""``SyntheticSetExport``: write the best and the last set as files."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any, Literal

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only, rank_zero_warn

from lightning_distill._renamed import LOG_KEYS, RenamedArguments
from lightning_distill.callbacks._loggers import log_artifact
from lightning_distill.callbacks.evaluated_set import exported_set
from lightning_distill.callbacks.student_evaluation import StudentEvaluation
from lightning_distill.data import ArrayDataModule
from lightning_distill.distillers import Distiller
from lightning_distill.evaluation.label_prior import Prior, check_label_options
from lightning_distill.evaluation.relabel import get_teachers, record_text, relabel
from lightning_distill.evaluation.students.protocol import get_protocol
from lightning_distill.evaluation.teachers import TeacherEnsemble
from lightning_distill.sets.card import make_card, relabelled_card
from lightning_distill.sets.storage import SET, check_writable, read_set, save_set


class SyntheticSetExport(RenamedArguments, Callback):
    """Write the set to ``dirpath/last`` after every validation and at the end, and the best one to ``dirpath/best``.

    Each folder holds ``set.safetensors``, which contains its card, and a copy of the card as ``card.json``. W&B gets
    the best set as an artifact at the end. The best set is selected by validation scores; cards hold no test scores.

    Args:
        dirpath: Folder to write to, checked before the run.
        monitor: Logged score that selects the best set. Without it (no `StudentEvaluation`), only ``last`` is written.
        mode: Whether the best score is the highest (``max``) or the lowest (``min``).
        labels: ``hard``, or ``soft`` to give the best set soft labels at the end of the fit, by networks that are
            trained on the real data before it (`evaluation.relabel.relabel`).
        teachers: Teachers of the soft labels: a number to train, with the network of the distiller, or a file written
            by `save_teachers`.
        prior: Class frequencies of the soft labels: ``natural`` or ``balanced``.
        protocol: Training protocol of the teachers: ``reference``, ``quick`` or ``tiny`` (for tests).

    Raises:
        OSError: The folder cannot be written; checked before the run.
        ValueError: Unknown mode, labels or prior, a monitored log key that was renamed, or soft labels without an
            `ArrayDataModule`.

    Example:
        >>> callback = SyntheticSetExport("runs/digits", monitor="val/balanced_acc")
    """

    def __init__(
        self,
        dirpath: str | os.PathLike[str],
        *,
        monitor: str = "val/acc",
        mode: str = "max",
        labels: Literal["hard", "soft"] = "hard",
        teachers: int | str = 3,
        prior: Prior = "natural",
        protocol: str = "quick",
    ) -> None:
        if labels not in ("hard", "soft"):
            raise ValueError(f"unknown labels {labels!r}; use 'hard' or 'soft'")
        check_label_options(prior)
        get_protocol(protocol)
        if mode not in ("max", "min"):
            raise ValueError(f"unknown mode {mode!r}; use 'max' or 'min'")
        stage, _, metric = monitor.rpartition("/")
        if metric in LOG_KEYS:
            raise ValueError(f"monitor={monitor!r} was renamed to {f'{stage}/{LOG_KEYS[metric]}'!r}")
        self.dirpath, self.monitor, self.mode = Path(dirpath), monitor, mode
        self.labels, self.teachers, self.prior, self.protocol = labels, teachers, prior, protocol
        self.best_score: float | None = None
        self._ensemble: TeacherEnsemble | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check that the folder can be written, before the run."""
        if stage == "fit":
            check_writable(self.dirpath)
            if self.labels == "soft" and not isinstance(_datamodule(trainer), ArrayDataModule):
                raise ValueError("labels='soft' needs trainer.fit(..., datamodule=...) with an ArrayDataModule")

    @rank_zero_only
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Warn if sets of an earlier run will be replaced; a resumed run replaces its own. Train the teachers."""
        earlier = [name for name in ("best", "last") if (self.dirpath / name / SET).is_file()]
        if earlier and trainer.ckpt_path is None:
            rank_zero_warn(
                f"{self.dirpath} holds {' and '.join(earlier)} of an earlier run, which will be replaced; "
                'use another dirpath to keep them, or ckpt_path="last" to resume that run'
            )
        if self.labels == "soft" and isinstance(pl_module, Distiller):
            self._ensemble = self._make_teachers(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the set as the last, and as the best if its score is the best so far."""
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        self._write(trainer, pl_module, "last")
        score = trainer.callback_metrics.get(self.monitor)
        if score is not None and self._better(float(score)):
            self.best_score = float(score)
            self._write(trainer, pl_module, "best")

    @rank_zero_only
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the last set, and log the best one to W&B."""
        self._write(trainer, pl_module, "last")
        best = self.dirpath / ("best" if self.best_score is not None else "last")
        if self._ensemble is not None:
            self._relabel(best, self._ensemble, pl_module.device)
        rank_zero_info(f"Set written to {best / SET}")
        if isinstance(pl_module, Distiller):
            log_artifact(trainer.loggers, f"distilled-{pl_module.synthetic.spec.name}", best)

    def state_dict(self) -> dict[str, Any]:
        """Return the best score so far."""
        return {"best_score": self.best_score}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best score so far."""
        self.best_score = state_dict["best_score"]

    def _better(self, score: float) -> bool:
        if self.best_score is None or math.isnan(self.best_score):
            return True
        return score > self.best_score if self.mode == "max" else score < self.best_score

    def _make_teachers(self, trainer: Trainer, pl_module: Distiller) -> TeacherEnsemble:
        """Train or read the teachers before the distillation, so that bad ones end the run early."""
        datamodule = _datamodule(trainer)
        assert isinstance(datamodule, ArrayDataModule)
        rank_zero_info(f"Teachers of the soft labels: {self.teachers}, {self.protocol} protocol")
        return get_teachers(
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

    def _relabel(self, folder: Path, teachers: TeacherEnsemble, device: torch.device) -> None:
        """Replace a set by the same set with soft labels."""
        labeled_set, card = read_set(folder)
        soft, record = relabel(labeled_set, teachers=teachers, prior=self.prior, device=device)
        save_set(folder, soft, relabelled_card(card, record))
        rank_zero_info(f"Labels of {folder.name}: {record_text(record)}")

    @rank_zero_only
    def _write(self, trainer: Trainer, pl_module: LightningModule, name: str) -> None:
        if not isinstance(pl_module, Distiller):
            raise TypeError(f"{type(pl_module).__name__} has no synthetic set to export; use a Distiller")
        synthetic, hp = pl_module.synthetic, pl_module.hparams
        scores: dict[str, object] = {}
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, StudentEvaluation):
                scores["val"] = callback.describe("val")
        hyper_parameters = {key: value for key, value in hp.items() if not key.startswith("_")}
        learnables = {"soft_labels": synthetic.soft_label_logits, "lr": synthetic.lr}
        learned = [name for name, tensor in learnables.items() if tensor is not None]
        method, step = type(pl_module).__name__, trainer.global_step
        card = make_card(method, hyper_parameters, scores, str(hp["init"]), step, learned)
        save_set(self.dirpath / name, exported_set(synthetic), card)


def _datamodule(trainer: Trainer) -> object:
    return trainer.datamodule  # type: ignore[attr-defined]
