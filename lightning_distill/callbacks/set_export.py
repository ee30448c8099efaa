"""``SyntheticSetExport``: write the best and the last set as files."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.utilities import rank_zero_info, rank_zero_only, rank_zero_warn

from lightning_distill._renamed import LOG_KEYS, RenamedArguments
from lightning_distill.callbacks._loggers import log_artifact
from lightning_distill.callbacks.evaluated_set import exported_set
from lightning_distill.callbacks.student_evaluation import StudentEvaluation
from lightning_distill.distillers import Distiller
from lightning_distill.sets.card import make_card
from lightning_distill.sets.storage import SET, check_writable, save_set


class SyntheticSetExport(RenamedArguments, Callback):
    """Write the set to ``dirpath/last`` after every validation and at the end, and the best one to ``dirpath/best``.

    Each folder holds ``set.safetensors``, which contains its card, and a copy of the card as ``card.json``. W&B gets
    the best set as an artifact at the end. The best set is selected by validation scores; cards hold no test scores.

    Args:
        dirpath: Folder to write to, checked before the run.
        monitor: Logged score that selects the best set. Without it (no `StudentEvaluation`), only ``last`` is written.
        mode: Whether the best score is the highest (``max``) or the lowest (``min``).

    Raises:
        OSError: The folder cannot be written; checked before the run.
        ValueError: Unknown mode, or a monitored log key that was renamed.

    Example:
        >>> callback = SyntheticSetExport("runs/digits", monitor="val/balanced_acc")
    """

    def __init__(self, dirpath: str | os.PathLike[str], *, monitor: str = "val/acc", mode: str = "max") -> None:
        if mode not in ("max", "min"):
            raise ValueError(f"unknown mode {mode!r}; use 'max' or 'min'")
        stage, _, metric = monitor.rpartition("/")
        if metric in LOG_KEYS:
            raise ValueError(f"monitor={monitor!r} was renamed to {f'{stage}/{LOG_KEYS[metric]}'!r}")
        self.dirpath, self.monitor, self.mode = Path(dirpath), monitor, mode
        self.best_score: float | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check that the folder can be written, before the run."""
        if stage == "fit":
            check_writable(self.dirpath)

    @rank_zero_only
    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Warn if sets of an earlier run will be replaced; a resumed run replaces its own."""
        earlier = [name for name in ("best", "last") if (self.dirpath / name / SET).is_file()]
        if earlier and trainer.ckpt_path is None:
            rank_zero_warn(
                f"{self.dirpath} holds {' and '.join(earlier)} of an earlier run, which will be replaced; "
                'use another dirpath to keep them, or ckpt_path="last" to resume that run'
            )

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
