"""``check_monitors``: find a monitored log key that no callback of a distillation logs, before the run."""

from __future__ import annotations

from difflib import get_close_matches

from lightning import LightningModule, Trainer

from lightning_distill.callbacks._log_names import log_key, log_prefixes
from lightning_distill.callbacks.student_evaluation import StudentEvaluation
from lightning_distill.distillers import Distiller
from lightning_distill.evaluation.metrics.registry import METRICS


def check_monitors(trainer: Trainer, model: LightningModule) -> None:
    """Raise ValueError if a callback monitors a score of the validation that is not logged.

    Names without ``val/``, names with a label such as ``val/auroc/mass``, and distillers with a ``validation_step`` of
    their own are not checked.

    Args:
        trainer: Trainer of the run.
        model: Module of the run.
    """
    if not isinstance(model, Distiller) or type(model).validation_step is not Distiller.validation_step:
        return
    callbacks: list[object] = trainer.callbacks  # type: ignore[attr-defined]
    evaluations = [each for each in callbacks if isinstance(each, StudentEvaluation)]
    prefixes = log_prefixes([each.prefix for each in evaluations], own_project=True)
    scores = (*METRICS, "acc_std", "acc_gain_over_random")
    known = [log_key(prefix, "val", name) for prefix in prefixes for name in scores]
    for each, prefix in zip(evaluations, prefixes, strict=True):
        known += [log_key(prefix, "val", str(name)) for name in (each.metrics or {})]
    for callback in callbacks:
        monitor = getattr(callback, "monitor", None)
        if not isinstance(monitor, str) or not monitor.startswith("val/") or monitor.count("/") > 1 or monitor in known:
            continue
        name = type(callback).__name__
        if evaluations:
            names = get_close_matches(monitor, known) or sorted(known)
            raise ValueError(f"{name} monitors {monitor!r}, which is not logged; use {', '.join(names)}")
        if name in ("ModelCheckpoint", "EarlyStopping"):
            raise ValueError(
                f"{name} monitors {monitor!r}, which StudentEvaluation logs: add --trainer.callbacks+=StudentEvaluation"
            )
