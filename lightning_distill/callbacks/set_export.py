"""``SyntheticSetExport``: write the best and the last set as files."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only, rank_zero_warn

from lightning_distill._renamed import LOG_KEYS, RenamedArguments
from lightning_distill.audit.resemblance import measure_resemblance
from lightning_distill.callbacks._export_labels import ExportLabels
from lightning_distill.callbacks._guard import (
    guard_metric,
    measure_gain,
    reason_not_to_measure,
    validate_yardsticks,
)
from lightning_distill.callbacks._lightning_private import finish_when_done
from lightning_distill.callbacks._loggers import log_artifact
from lightning_distill.callbacks._set_folder import BEST, LAST, SetFolder
from lightning_distill.callbacks.evaluated_set import exported_set
from lightning_distill.callbacks.student_evaluation import StudentEvaluation
from lightning_distill.distillers import Distiller
from lightning_distill.evaluation.guard import GainCheck
from lightning_distill.evaluation.label_prior import Prior
from lightning_distill.evaluation.students.evaluator import StudentEvaluator
from lightning_distill.sets.card import make_card
from lightning_distill.sets.storage import SET, Card, save_set
from lightning_distill.sets.training_images import ENTRY, hash_training_images
from lightning_distill.utils.errors import NoGainError
from lightning_distill.utils.rng import isolated_rng


class SyntheticSetExport(RenamedArguments, Callback):
    """Write the set to ``dirpath/last`` after every validation and at the end, and the best one to ``dirpath/best``.

    Each folder holds ``set.safetensors``, which contains its card, a copy of the card as ``card.json``, and a picture
    ``grid.png``. W&B gets the best set as an artifact at the end. The best set is selected by validation scores; cards
    hold no test scores.

    At the end of ``fit`` the exported set (the best one, else the last) is compared with its start and with selected
    real images of the same number, all by the same new students of the run's `StudentEvaluation` on the validation
    split. The card's entry ``gain`` holds the scores. Where the gain over the start does not exceed its standard error
    over images and students, the set is marked: "no better than 10 picked images a class". Real images are never
    exported in its place. Where the images began as real ones, the entry ``resemblance`` says how near they are to
    training images, beside the start and held-out images. Each yardstick costs one more training of the students.

    The best set is also kept in checkpoints: a resumed run writes it again where it is missing or newer than the
    checkpoint. A run that is resumed at its last step validates, exports and compares what it had not.

    Args:
        dirpath: Folder to write to, checked before the run. One run at a time owns it.
        monitor: Logged score that selects the best set. Without it (no `StudentEvaluation`), only ``last`` is written.
        mode: Whether the best score is the highest (``max``) or the lowest (``min``).
        yardsticks: Sets to compare the exported set with at the end: ``start`` and any of ``herding``, ``kmeans``,
            ``kcenter`` and ``random``. Empty to compare nothing. The metric is that of ``monitor``, or accuracy where
            ``monitor`` is no metric of the students.
        require_gain: Whether a set that does not beat its start is an error, raised after all files are written.
            ``lightning-distill fit --require_gain true`` sets it and ends with exit status 3.
        labels: ``hard``, or ``soft`` to give the best set soft labels at the end of the fit, by networks that are
            trained on the real data before it (`evaluation.relabel.relabel`).
        teachers: Teachers of the soft labels: a number to train, with the network of the distiller, or a file written
            by `save_teachers`.
        prior: Class frequencies of the soft labels: ``natural`` or ``balanced``.
        protocol: Training protocol of the teachers: ``reference``, ``quick`` or ``tiny`` (for tests).
        training_hashes: Whether the card holds hashes of the training images, so that ``evaluate`` refuses to score the
            set on images it was trained on. They tell whoever holds an image whether it was among them.

    Raises:
        OSError: The folder cannot be written, or belongs to a run that is still going; checked before the run.
        ValueError: Unknown mode, yardstick, labels or prior, a monitored log key that was renamed, soft labels without
            an `ArrayDataModule`, or ``require_gain`` in a run that cannot measure the gain; checked before the run.
        NoGainError: ``require_gain``, and the set does not beat its start.

    Example:
        >>> callback = SyntheticSetExport("runs/digits", monitor="val/balanced_acc")
    """

    def __init__(
        self,
        dirpath: str | os.PathLike[str],
        *,
        monitor: str = "val/acc",
        mode: str = "max",
        yardsticks: Sequence[str] = ("start", "herding", "kmeans"),
        require_gain: bool = False,
        labels: Literal["hard", "soft"] = "hard",
        teachers: int | str = 3,
        prior: Prior = "natural",
        protocol: str = "quick",
        training_hashes: bool = True,
    ) -> None:
        if mode not in ("max", "min"):
            raise ValueError(f"unknown mode {mode!r}; use 'max' or 'min'")
        stage, _, metric = monitor.rpartition("/")
        if metric in LOG_KEYS:
            raise ValueError(f"monitor={monitor!r} was renamed to {f'{stage}/{LOG_KEYS[metric]}'!r}")
        self.dirpath, self.monitor, self.mode = Path(dirpath), monitor, mode
        self.yardsticks, self.require_gain = validate_yardsticks(yardsticks), require_gain
        self.best_score: float | None = None
        self.gain: GainCheck | None = None
        self.training_hashes = training_hashes
        self._hashes: list[dict[str, object]] | None = None
        self._sets, self._labels = SetFolder(self.dirpath), ExportLabels(labels, teachers, prior, protocol)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check before the run that the folder can be written, labels can be made and a required gain measured."""
        if stage != "fit":
            return
        self._sets.check()
        if trainer.is_global_zero:
            self._sets.open()
        self.gain = None
        self._labels.check(trainer)
        if not self.require_gain or not isinstance(pl_module, Distiller):
            return
        if reason := self._reason_not_to_measure(trainer, pl_module):
            raise ValueError(f"require_gain=True, but the gain cannot be measured: {reason}")

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Warn if sets of an earlier run will be replaced; a resumed run replaces its own. Train the teachers."""
        earlier = [name for name in (BEST, LAST) if self._sets.has(name)]
        if earlier and trainer.ckpt_path is None:
            rank_zero_warn(
                f"{self.dirpath} holds {' and '.join(earlier)} of an earlier run, which will be replaced; "
                'use another dirpath to keep them, or ckpt_path="last" to resume that run'
            )
        if isinstance(pl_module, Distiller):
            self._labels.prepare(trainer, pl_module)

    @rank_zero_only
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the best set of the checkpoint again where the folder lacks it or holds another one."""
        self._sets.restore_best()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the set as the last, and as the best if its score is the best so far."""
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        self._write(trainer, pl_module, LAST)
        score = trainer.callback_metrics.get(self.monitor)
        if score is not None and self._better(float(score)):
            self.best_score = float(score)
            self._write(trainer, pl_module, BEST)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the last set, compare the exported one with its yardsticks, and log it to W&B."""
        self._write(trainer, pl_module, LAST)
        if not isinstance(pl_module, Distiller):
            return
        if trainer.is_global_zero and self._sets.restore_best():
            rank_zero_warn(f"{self.dirpath / BEST} was removed or changed during the run; it was written again")
        name = BEST if self.best_score is not None and self._sets.has(BEST) else LAST
        name = trainer.strategy.broadcast(name)
        self._relabel(name, pl_module.device)
        reason = self._reason_not_to_measure(trainer, pl_module)
        entries: dict[str, object] = {"gain": _not_measured(reason or "")}
        if self.yardsticks:
            entries |= self._compare(trainer, pl_module, name, measured=reason is None)
        self._finish(trainer, pl_module, name, entries)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Raise `NoGainError` if a gain is required and the set has none."""
        if self.require_gain and (self.gain is None or not self.gain.beats_start):
            text = "the gain was not measured" if self.gain is None else self.gain.sentence()
            raise NoGainError(f"{text[0].lower()}{text[1:]}")

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Release the folder."""
        self._sets.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Release the folder."""
        self._sets.close()

    def state_dict(self) -> dict[str, Any]:
        """Return the best score so far and the file of the best set."""
        best = self._sets.best_file
        content = None if best is None else torch.frombuffer(bytearray(best), dtype=torch.uint8)
        return {"best_score": self.best_score, "best_set": content}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best score so far and the file of the best set."""
        self.best_score, content = state_dict["best_score"], state_dict.get("best_set")
        self._sets.best_file = None if content is None else content.numpy().tobytes()

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Have a run that is resumed at its last step validate and export."""
        if trainer.state.fn == "fit":
            finish_when_done(trainer)

    def _better(self, score: float) -> bool:
        if self.best_score is None or math.isnan(self.best_score):
            return True
        return score > self.best_score if self.mode == "max" else score < self.best_score

    def _reason_not_to_measure(self, trainer: Trainer, pl_module: Distiller) -> str | None:
        return reason_not_to_measure(trainer, pl_module.real_data, self.yardsticks, _evaluator(trainer))

    def _compare(self, trainer: Trainer, pl_module: Distiller, name: str, measured: bool) -> dict[str, object]:
        """Return the entries of the card of the exported set; every rank calls it."""
        datamodule = pl_module.real_data
        exported = trainer.strategy.broadcast(self._sets.read(name)[0] if trainer.is_global_zero else None)
        assert exported is not None
        with isolated_rng(pl_module.seed):
            start = self._labels.give(exported_set(pl_module.init_synthetic(datamodule)), pl_module.device)
        entries: dict[str, object] = {}
        evaluator = _evaluator(trainer)
        if measured and evaluator is not None:
            self.gain = measure_gain(
                trainer,
                pl_module,
                datamodule,
                exported,
                start,
                evaluator,
                yardsticks=self.yardsticks,
                metric=guard_metric(self.monitor, datamodule.spec),
                init=pl_module.init,
                label=partial(self._labels.give, device=pl_module.device),
            )
            entries["gain"] = self.gain.to_dict()
        if pl_module.init != "noise" and trainer.is_global_zero:
            entries["resemblance"] = measure_resemblance(datamodule, exported, start)
        return entries

    @rank_zero_only
    def _finish(self, trainer: Trainer, pl_module: Distiller, name: str, entries: dict[str, object]) -> None:
        """Add entries to the card of the exported set, log the set, and print where it is and what it gains."""
        folder, (data, card) = self.dirpath / name, self._sets.read(name)
        save_set(folder, data, {**card, **entries})
        self._sets.draw(name)
        log_artifact(trainer.loggers, f"distilled-{pl_module.synthetic.spec.name}", folder)
        rank_zero_info(f"Set written to {folder / SET}")
        if self.gain is not None:
            rank_zero_info(self.gain.sentence())

    @rank_zero_only
    def _relabel(self, name: str, device: torch.device) -> None:
        """Replace a set by the same set with soft labels, if those are wanted."""
        relabelled = self._labels.export(*self._sets.read(name), device)
        if relabelled is not None:
            save_set(self.dirpath / name, *relabelled)
            self._sets.draw(name)

    @rank_zero_only
    def _write(self, trainer: Trainer, pl_module: LightningModule, name: str) -> None:
        if not isinstance(pl_module, Distiller):
            raise TypeError(f"{type(pl_module).__name__} has no synthetic set to export; use a Distiller")
        card = _card(trainer, pl_module)
        train = pl_module.real_data.splits.get("train")
        if self.training_hashes and train is not None:
            self._hashes = self._hashes or hash_training_images(train[0])
            card[ENTRY] = [*self._hashes, *(row for row in pl_module.generator_images() if row not in self._hashes)]
        self._sets.write(name, exported_set(pl_module.synthetic), card)


def _card(trainer: Trainer, pl_module: Distiller) -> Card:
    """Return the card of the set at this step."""
    synthetic, hp = pl_module.synthetic, pl_module.hparams
    scores: dict[str, object] = {}
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, StudentEvaluation):
            scores["val"] = callback.describe("val")
    hyper_parameters = {key: value for key, value in hp.items() if not key.startswith("_")}
    learnables = {"soft_labels": synthetic.soft_label_logits, "lr": synthetic.lr}
    learned = [name for name, tensor in learnables.items() if tensor is not None]
    method, step = type(pl_module).__name__, trainer.global_step
    card = make_card(method, hyper_parameters, scores, pl_module.image_start, step, learned)
    if pl_module.latent_record:
        card["latent"] = dict(pl_module.latent_record)
    card |= pl_module.card_entries()
    if pl_module.changes:
        card["resumed_with_changes"] = pl_module.changes
    card["gain"] = _not_measured("the comparison follows at the end of the run, for the exported set alone")
    return card


def _not_measured(reason: str) -> dict[str, object]:
    return {"measured": False, "reason": reason}


def _evaluator(trainer: Trainer) -> StudentEvaluator | None:
    """Return the students of the run's validations."""
    found = [of.evaluator for of in trainer.callbacks if isinstance(of, StudentEvaluation)]  # type: ignore[attr-defined]
    return found[-1] if found else None
