"""Registry of metrics. A new metric is a `MetricSpec` in its own file and one line in `METRICS`."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from lightning_distill.evaluation.metrics.accuracy import ACCURACY, BALANCED_ACCURACY, MACRO_F1, WORST_RECALL
from lightning_distill.evaluation.metrics.metric import MetricSpec
from lightning_distill.evaluation.metrics.ordinal import KAPPA, MAE
from lightning_distill.evaluation.metrics.probability_errors import BRIER, ECE, NLL
from lightning_distill.evaluation.metrics.ranking import AUROC, MEAN_AVERAGE_PRECISION
from lightning_distill.spec import DataSpec

#: Metrics by name, in the order of tables and CSV columns.
METRICS: dict[str, MetricSpec] = {
    "acc": ACCURACY,
    "balanced_acc": BALANCED_ACCURACY,
    "auroc": AUROC,
    "worst_recall": WORST_RECALL,
    "macro_f1": MACRO_F1,
    "ece": ECE,
    "brier": BRIER,
    "nll": NLL,
    "mAP": MEAN_AVERAGE_PRECISION,
    "kappa": KAPPA,
    "mae": MAE,
}


def metrics_for(spec: DataSpec) -> dict[str, MetricSpec]:
    """Select the metrics of a task, including ``<name>/<label>`` for multi-label data.

    Args:
        spec: Task and class names.
    """
    found = {name: metric for name, metric in METRICS.items() if spec.task in metric.tasks}
    if spec.multi_label:
        for metric in list(found.values()):
            if metric.label_fn is None:
                continue
            for label, label_name in enumerate(spec.class_names):
                name, fn = f"{metric.name}/{label_name}", partial(metric.label_fn, label)
                found[name] = replace(metric, name=name, label=f"{metric.label} of {label_name}", fn=fn, label_fn=None)
    return found


def get_metric(name: str, spec: DataSpec) -> MetricSpec:
    """Look up a metric of a task.

    Raises:
        ValueError: The task has no such metric.
    """
    known = metrics_for(spec)
    if name not in known:
        raise ValueError(f"unknown metric {name!r} of {spec.task} labels; known: {', '.join(known)}")
    return known[name]
