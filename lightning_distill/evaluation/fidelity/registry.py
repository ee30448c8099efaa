"""Registry of the metrics of images: a new metric is one file and one line here."""

from __future__ import annotations

from collections.abc import Sequence

from lightning_distill.evaluation.fidelity.copies import COPIES
from lightning_distill.evaluation.fidelity.frechet import FD
from lightning_distill.evaluation.fidelity.kid import KID
from lightning_distill.evaluation.fidelity.metric import FidelityMetric
from lightning_distill.evaluation.fidelity.ms_ssim import MS_SSIM
from lightning_distill.evaluation.fidelity.neighbours import NEIGHBOUR_SCORES

#: Metrics in the order of tables and CSV columns.
FIDELITY_METRICS: tuple[FidelityMetric, ...] = (
    KID,
    FD,
    NEIGHBOUR_SCORES,
    MS_SSIM,
    COPIES,
)


def choose_metrics(names: Sequence[str] | None) -> tuple[FidelityMetric, ...]:
    """Return the metrics of the given names, in the order of the registry.

    Args:
        names: Names of metrics; ``None`` takes all.

    Raises:
        ValueError: A name is unknown, or none is given.
    """
    known = [metric.name for metric in FIDELITY_METRICS]
    if unknown := [name for name in names or () if name not in known]:
        raise ValueError(f"unknown metric {unknown[0]!r}; use one of {', '.join(known)}")
    if names is not None and not names:
        raise ValueError(f"no metrics are chosen; use some of {', '.join(known)}")
    return tuple(metric for metric in FIDELITY_METRICS if names is None or metric.name in names)
